//! Which window of the past an answer is of.

use meshprobe_proto::v1;

use super::time::timestamp;

/// A line for above the answer; empty for the present.
pub fn line(window: Option<&v1::HistoryWindow>) -> String {
    let Some(window) = window else {
        return String::new();
    };
    let text = |wire| timestamp(wire).map_or_else(|| "?".to_owned(), |at| at.to_string());
    let (length, recorded) = (window.resolution_seconds, window.recorded_seconds);
    let holes = if recorded < length {
        format!("; {recorded} s of it were recorded")
    } else {
        String::new()
    };
    format!(
        "As it was from {} to {} (a window of {length} s; of each path the worst in it{holes})\n\n",
        text(window.start),
        text(window.end),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_says_which_window_and_the_present_says_nothing() {
        assert_eq!(line(None), "");
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let window = v1::HistoryWindow {
            start: at(1_795_921_800),
            end: at(1_795_921_810),
            resolution_seconds: 10,
            recorded_seconds: 10,
        };
        assert_eq!(
            line(Some(&window)),
            "As it was from 2026-11-29T03:10:00Z to 2026-11-29T03:10:10Z (a window of 10 s; of each path the worst in it)\n\n"
        );
        let window = v1::HistoryWindow {
            resolution_seconds: 60,
            recorded_seconds: 40,
            ..window
        };
        assert!(line(Some(&window)).contains("; 40 s of it were recorded)"));
    }
}

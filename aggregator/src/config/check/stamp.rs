//! Keys of authenticated STAMP.

use jiff::Timestamp;
use meshprobe_daemon::config::ConfigProblems;

use super::{MAX_SECRETS, with_source};
use crate::config::Stamp;

pub(super) fn check(stamp: &Stamp, now: Timestamp, problems: &mut ConfigProblems) {
    let keys = &stamp.keys;
    if let Some(third) = keys.get(MAX_SECRETS) {
        problems.add_at(
            third,
            "stamp.keys",
            format!(
                "probers accept {MAX_SECRETS} keys: the one they send with and the one that comes or goes; there are \
                 {}, remove the oldest",
                keys.len()
            ),
        );
    }
    let mut known = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let place = format!("stamp.keys[{index}]");
        match key.value.read() {
            None => problems.add_at(key, &place, "write exactly one of file: and secret:"),
            Some(Err(error)) => match (&key.value.file, &key.value.secret) {
                (Some(file), _) => {
                    problems.add_at(file, format!("{place}.file"), with_source(&error));
                }
                (None, Some(secret)) => {
                    problems.add_at(secret, format!("{place}.secret"), with_source(&error));
                }
                (None, None) => problems.add_at(key, &place, with_source(&error)),
            },
            Some(Ok(secret)) => {
                if let Some(first) = known.iter().position(|other| *other == secret) {
                    problems.add_at(
                        key,
                        &place,
                        format!("is the same secret as stamp.keys[{first}]; remove one"),
                    );
                }
                known.push(secret);
            }
        }
        if let Some(not_after) = &key.value.not_after
            && not_after.value <= now
        {
            problems.add_at(
                not_after,
                format!("{place}.not_after"),
                format!(
                    "this key expired at {}; put another one in its place, or give it a later date if it may still be used",
                    not_after.value
                ),
            );
        }
    }
}

//! DNS answers.

use meshprobe_prober::dns::question::{Question, RecordType};

use super::{Reader, Target};

const ID: u16 = 0x1234;

pub(super) const ANSWER: Target = Target {
    name: "dns-answer",
    summary: "what a DNS server, or somebody who guesses, sends back",
    samples,
    reader,
};

fn question() -> Question {
    let name = "kubernetes.default.svc.cluster.local.";
    #[expect(clippy::unwrap_used, reason = "a constant that is a name")]
    Question::new(name, RecordType::A, true, ID).unwrap()
}

/// The question with the response bit, an answer record, each response code.
fn samples() -> Vec<Vec<u8>> {
    let asked = question().octets().to_vec();
    let with_flags = |first: u8, second: u8| {
        let mut octets = asked.clone();
        octets[2] = first;
        octets[3] = second;
        octets
    };
    let mut samples: Vec<Vec<u8>> = (0..6).map(|rcode| with_flags(0x81, 0x80 | rcode)).collect();
    samples.push(with_flags(0x83, 0x80));
    // One A record whose name points back to the question (RFC 1035 §4.1.4), and one that points to itself.
    for pointer in [12, 0xff] {
        let mut octets = with_flags(0x81, 0x80);
        octets[7] = 1;
        // No additional records: the EDNS option of the question is cut off.
        octets[11] = 0;
        let end = asked.len() - 11;
        octets.truncate(end);
        let record = [0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 1];
        octets.extend_from_slice(&record);
        samples.push(octets);
    }
    samples
}

fn reader() -> Reader {
    let question = question();
    Box::new(move |octets| {
        let answer = question.read(octets);
        let ours = octets.first_chunk() == Some(&ID.to_be_bytes());
        if !ours && answer.is_some() {
            return Err("an answer with another id was taken".to_owned());
        }
        Ok(answer.is_some())
    })
}

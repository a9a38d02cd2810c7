//! What says that it is gzip.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hyper::header::HeaderValue;
use prometheus::IntGauge;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

struct Memory {
    budget: Budget,
    in_use: IntGauge,
}

fn memory(bytes_max: usize) -> Memory {
    let in_use = IntGauge::new("in_use", "Bytes.").expect("a name");
    Memory {
        budget: Budget::new(bytes_max, in_use.clone()),
        in_use,
    }
}

impl Memory {
    fn gunzip(&self, bytes: Vec<u8>, decoded_bytes_max: usize) -> Result<Received, Refusal> {
        let reservation = self.budget.try_reserve(bytes.len())?;
        gunzip(
            Received { bytes, reservation },
            decoded_bytes_max,
            &self.budget,
        )
    }
}

#[track_caller]
fn refused(outcome: Result<Received, Refusal>, reason: Reason) {
    assert_eq!(outcome.map(|_| ()).expect_err("refused").reason, reason);
}

#[test]
fn a_body_comes_out_as_it_went_in_and_has_memory_for_itself_alone() {
    let memory = memory(1 << 20);
    let text = b"audit ".repeat(50_000);
    let (first, second) = text.split_at(100_000);
    let members = [gzip(first), gzip(second)].concat();
    let decoded = memory.gunzip(members, text.len()).expect("it fits");
    assert!(decoded.bytes == text);
    assert_eq!(memory.in_use.get(), text.len() as i64);
    drop(decoded);
    assert_eq!(memory.in_use.get(), 0);
}

#[test]
fn a_bomb_is_refused_by_what_comes_out_of_it() {
    let memory = memory(4 << 20);
    let bomb = gzip(&vec![b' '; 3 << 20]);
    assert!(bomb.len() < 8 << 10);
    refused(
        memory.gunzip(bomb.clone(), (3 << 20) - 1),
        Reason::DecodedTooLarge,
    );
    assert_eq!(memory.in_use.get(), 0);

    let taken = memory.budget.try_reserve(2 << 20).expect("free");
    refused(memory.gunzip(bomb.clone(), 3 << 20), Reason::BytesInFlight);
    drop(taken);
    assert!(memory.gunzip(bomb, 3 << 20).is_ok());
}

#[test]
fn what_is_no_gzip_or_half_of_it_is_refused() {
    let memory = memory(1 << 20);
    let whole = gzip(b"audit");
    let mut changed = whole.clone();
    let middle = changed.len() - 6;
    changed[middle] ^= 1;
    let trailed = [&whole[..], b"{}"].concat();
    for broken in [
        Vec::new(),
        b"{}".to_vec(),
        whole[..whole.len() - 1].to_vec(),
        changed,
        trailed,
    ] {
        refused(memory.gunzip(broken, 1 << 20), Reason::MalformedGzip);
    }
    assert_eq!(memory.in_use.get(), 0);
}

#[test]
fn only_gzip_is_read_and_only_once() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Encoding::of(&headers).ok()
    };
    for identity in [&[][..], &[""], &["identity"], &["Identity, "]] {
        assert_eq!(of(identity), Some(Encoding::Identity), "{identity:?}");
    }
    for gzip in [
        &["gzip"][..],
        &["x-gzip"],
        &[" GZIP , identity"],
        &["", "gzip"],
    ] {
        assert_eq!(of(gzip), Some(Encoding::Gzip), "{gzip:?}");
    }
    for other in [
        &["br"][..],
        &["deflate"],
        &["gzip, gzip"],
        &["gzip", "br"],
        &["gzipped"],
    ] {
        assert_eq!(of(other), None, "{other:?}");
    }
}

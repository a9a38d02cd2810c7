//! Reading where messages were deleted, on a real server.

use std::io::ErrorKind::InvalidData;

use super::*;
use crate::jetstream::test_support::{connect, options_of, server};

#[test]
fn who_reads_what_was_deleted_gets_an_error_and_never_other_bytes_or_an_end() {
    let Some(server) = server() else { return };
    let jetstream = connect(&options_of(&server));
    let delete = |stream: &LedgerStream, seq: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let stream = jetstream.context().get_stream(stream.name()).await.unwrap();
            stream.delete_message(seq).await.unwrap();
        });
    };
    let opened = || {
        let stream = Arc::new(LedgerStream::take_over(&jetstream).unwrap());
        let entries = stream.list().unwrap();
        let segments = Segments::new(Arc::clone(&stream), "events", entries.iter());
        (stream, Arc::new(segments))
    };
    let (stream, writer) = opened();
    for (offset, text) in [(0, "aaaa"), (4, "bbbb"), (8, "cccc"), (12, "dddd")] {
        writer.write(1, offset, text.as_bytes()).unwrap();
    }
    let read_at = |segments: &Segments, offset: u64, bytes: usize| {
        let mut read = vec![0; bytes];
        let outcome = segments.read_exact_at(1, &mut read, offset);
        outcome.map(|()| String::from_utf8(read).unwrap())
    };
    let read_from = |segments: &Arc<Segments>, offset: u64| {
        let mut read = Vec::new();
        let outcome = segments
            .read_from(1, offset)
            .unwrap()
            .read_to_end(&mut read);
        (
            String::from_utf8(read).unwrap(),
            outcome.map_err(|error| error.kind()),
        )
    };
    let seqs: Vec<u64> = stream.list().unwrap().iter().map(|one| one.seq).collect();
    delete(&stream, seqs[1]);
    let (_, segments) = opened();
    assert_eq!(segments.gaps(), [(1, 4..8)]);
    assert_eq!(read_at(&segments, 1, 3).unwrap(), "aaa");
    assert_eq!(read_at(&segments, 9, 5).unwrap(), "cccdd");
    for (offset, bytes) in [(2, 4), (2, 8), (4, 4), (6, 4)] {
        assert_eq!(
            read_at(&segments, offset, bytes).unwrap_err().kind(),
            InvalidData
        );
    }
    assert_eq!(
        read_from(&segments, 1),
        ("aaa".to_owned(), Err(InvalidData))
    );
    assert_eq!(read_from(&segments, 5), (String::new(), Err(InvalidData)));
    assert_eq!(read_from(&segments, 10), ("ccdddd".to_owned(), Ok(6)));
    // An end that is known of.
    segments.reaches(1, 20);
    assert_eq!(
        read_from(&segments, 8),
        ("ccccdddd".to_owned(), Err(InvalidData))
    );
    assert_eq!(read_at(&segments, 14, 4).unwrap_err().kind(), InvalidData);
    segments.write(1, 20, b"eeee").unwrap();
    assert_eq!(read_at(&segments, 20, 4).unwrap(), "eeee");
    // After it was listed.
    let (stream, segments) = opened();
    delete(&stream, seqs[2]);
    assert_eq!(read_at(&segments, 8, 2).unwrap_err().kind(), InvalidData);
    assert_eq!(read_from(&segments, 8), (String::new(), Err(InvalidData)));
}

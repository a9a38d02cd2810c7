//! Servers that do not answer, or are not there.

use tokio::time::Instant;

use auditrelay_store::{Intake, QueueError};

use crate::*;

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_stopped_or_killed_are_told_in_time_and_used_again_when_they_are_back() {
    let Some(mut server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&server);
    let hasty = JetStreamOptions {
        append_timeout: Duration::from_millis(800),
        ..options.clone()
    };
    let (servers, hasty) = (connect(&options).await, connect(&hasty).await);
    let (inbox, hasty) = (servers.inbox(), hasty.inbox());
    inbox.append(batch("\"first\"")).await.expect("durable");

    // It is there and says nothing: the API server is answered a second after its body came, so append has less. (The bound
    // is wide, for a machine that is busy: the client itself would wait for 5 s, and append for ever.)
    server.stop().expect("stopped");
    let begun = Instant::now();
    let unknown = hasty.append(batch("\"unknown\"")).await;
    let took = begun.elapsed();
    assert!(
        matches!(unknown, Err(QueueError::Unavailable(_))),
        "{unknown:?}"
    );
    assert!(took < Duration::from_secs(4), "{took:?}");
    server.cont().expect("it goes on");
    until("it is used again", async || {
        hasty.append(batch("\"again\"")).await.is_ok()
    })
    .await;

    // It is gone, and who knows that waits for nothing, whatever its patience is.
    server.kill();
    until("it is known", async || !servers.is_connected()).await;
    let begun = Instant::now();
    let gone = inbox.append(batch("\"never\"")).await;
    assert!(matches!(gone, Err(QueueError::Unavailable(_))), "{gone:?}");
    assert!(begun.elapsed() < options.append_timeout / 2);
    drop(inbox.admit(1 << 40).expect("it is no want of room"));

    // The pump waits for it too.
    let engine = engine(folder.path());
    let pumping = pump(&inbox, &engine);
    server.restart().expect("it starts");
    until("it is used again", async || {
        inbox.append(batch("\"last\"")).await.is_ok()
    })
    .await;
    until("all is taken", async || {
        taken(&engine).await.iter().any(|json| json == "\"last\"")
    })
    .await;
    pumping.end().await;
    let taken = taken(&engine).await;
    let of = |json: &str| taken.iter().filter(|one| *one == json).count();
    assert_eq!((of("\"first\""), of("\"never\"")), (1, 0), "{taken:?}");
    assert!(of("\"again\"") >= 1 && of("\"last\"") >= 1, "{taken:?}");
    assert!(
        of("\"unknown\"") <= 1,
        "it was tried under one ID: {taken:?}"
    );
}

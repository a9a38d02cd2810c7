//! When a request leaves: only then it is counted, and only where it may.

use std::net::SocketAddr;

use auditrelay_store::Tenure;
use hyper::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    time::Instant,
};

use super::*;

const BODY: &str = "a whole body";
const SECOND: Duration = Duration::from_secs(1);

/// Answers requests, one a connection, and tells of each that came whole.
async fn server() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let (told, whole) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(BODY.as_bytes()) {
                match stream.read_buf(&mut request).await {
                    Ok(read) if read > 0 => {}
                    _ => break,
                }
            }
            if request.ends_with(BODY.as_bytes()) && told.send(()).is_ok() {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                // Who gave it up does not hear it.
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (url, whole)
}

fn request(url: &str) -> Request<Bytes> {
    let request = Request::builder().method(Method::POST).uri(url);
    request.body(Bytes::from(BODY)).expect("a request")
}

fn http(place: &Place) -> Http {
    Http::new(20 * SECOND, None).paced(Some(place.clone()))
}

fn place() -> Place {
    Place::new("a", 3_600 * SECOND, 1)
}

#[tokio::test]
async fn what_leaves_counts_and_nothing_else_leaves_for_an_interval() {
    let (url, mut whole) = server().await;
    let place = place();
    let http = http(&place).direct().to("somebody");
    http.ask("a", request(&url)).await.expect("answered");
    assert!(whole.try_recv().is_ok());
    http.send("a", request(&url)).await.expect("answered");
    assert!(whole.try_recv().is_ok());
    let second = http.send("a", request(&url)).await.expect_err("too early");
    assert!(second.withheld && !second.sent, "{second:?}");
    // One that counts to another place, and one that counts nowhere.
    for http in [http.clone().paced(Some(self::place())), http.paced(None)] {
        http.send("a", request(&url)).await.expect("answered");
        assert!(whole.try_recv().is_ok());
    }
    assert!(whole.try_recv().is_err(), "it left");
}

#[tokio::test]
async fn what_never_left_keeps_nothing_else_waiting() {
    let (url, mut whole) = server().await;
    // A port at which nobody listens, and that nobody gets meanwhile.
    let free = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    free.bind(any).expect("a free port");
    let nobody = format!("http://{}/", free.local_addr().expect("bound"));
    let place = place();
    let http = http(&place);
    let refused = http.send("a", request(&nobody)).await.expect_err("nobody");
    assert!(!refused.sent && !refused.withheld, "{refused:?}");
    let (holder, tenure) = Tenure::until(tokio::time::Instant::now() + SECOND);
    let ended = http.clone().within(Term::begin(tenure, Duration::ZERO));
    drop(holder);
    let withheld = ended
        .send("a", request(&url))
        .await
        .expect_err("its term ended");
    assert!(withheld.withheld && !withheld.sent, "{withheld:?}");
    http.send("a", request(&url)).await.expect("answered");
    assert!(whole.try_recv().is_ok());
    assert!(whole.try_recv().is_err(), "it left");
}

/// A request is given up while the connection that has it runs on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_not_to_have_left_never_leaves() {
    let (url, mut whole) = server().await;
    let (mut may_be_there, mut is_not) = (0, 0);
    for n in 0..2_000_u64 {
        // Timers end with a millisecond, so it is begun at any time within one.
        let begins = Instant::now() + Duration::from_micros(n * 37 % 1_000);
        while Instant::now() < begins {
            std::hint::spin_loop();
        }
        let http = Http::new(Duration::from_micros(1), None);
        match http.send("a", request(&url)).await {
            Err(broken) if !broken.sent => is_not += 1,
            _ => may_be_there += 1,
        }
    }
    // Whatever was under way came before this.
    let patient = Http::new(20 * SECOND, None);
    let last = patient.send("a", request(&url)).await;
    last.expect("answered");
    let came = std::iter::from_fn(|| whole.try_recv().ok()).count();
    assert!(came <= may_be_there + 1, "{came} of {may_be_there} came");
    assert!(is_not > 0, "none was given up before it left");
}

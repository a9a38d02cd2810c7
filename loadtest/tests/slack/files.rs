//! Uploading a file in three steps.

use auditrelay_loadtest::slack::{LocalSlack, Via};
use serde_json::json;

use crate::support::{FORM, TOKEN, call, ok, send, start, unpaced};

const BEGIN: &str = "files.getUploadURLExternal";
const COMPLETE: &str = "files.completeUploadExternal";

async fn begin(slack: &LocalSlack, length: usize) -> (String, String) {
    let url = slack.api_url() + BEGIN;
    let body = format!("filename=a.txt&length={length}");
    let answer = send("POST", &url, &[TOKEN, FORM], body).await.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("file_id"), text("upload_url"))
}

#[tokio::test]
async fn a_file_is_announced_uploaded_and_shared_as_a_message() {
    let slack = start(unpaced()).await;
    let (id, url) = begin(&slack, 6).await;
    let raw = ("content-type", "application/octet-stream");
    let answer = send("POST", &url, &[raw], "<h&i>\n").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, "OK - 6")
    );
    let arguments = json!({"files": [{"id": id, "title": "A"}], "channel_id": "a",
        "thread_ts": "1.000000", "initial_comment": "see"});
    let answer = ok(&slack, COMPLETE, arguments).await;
    assert_eq!(answer["files"][0]["title"], "A");
    let stored = slack.posts().remove(0);
    assert_eq!((stored.via, stored.text.as_str()), (Via::File, "see"));
    assert_eq!(stored.thread_ts.as_deref(), Some("1.000000"));
    let file = slack.files().remove(0);
    assert_eq!(file.content.as_deref(), Some("<h&i>\n".as_bytes()));
    assert_eq!((file.id, file.channel.as_deref()), (id, Some("a")));
}

#[tokio::test]
async fn a_form_is_uploaded_as_its_first_part() {
    let slack = start(unpaced()).await;
    let (id, url) = begin(&slack, 3).await;
    let form = ("content-type", "multipart/form-data; boundary=xx");
    let body = "--xx\r\ncontent-disposition: form-data; name=\"f\"\r\n\r\nabc\r\n--xx--\r\n";
    assert_eq!(send("POST", &url, &[form], body).await.text, "OK - 3");
    // Without a channel it stays private: no message.
    let url = slack.api_url() + COMPLETE;
    let body = format!("files=%5B%7B%22id%22%3A%22{id}%22%7D%5D");
    let answer = send("POST", &url, &[TOKEN, FORM], body).await;
    assert_eq!(answer.json()["files"][0]["title"], "a.txt");
    assert!(slack.posts().is_empty());
}

#[tokio::test]
async fn steps_that_do_not_fit_are_refused() {
    let slack = start(unpaced()).await;
    for arguments in [json!({"filename": "a", "length": 0}), json!({"length": 1})] {
        let answer = call(&slack, BEGIN, arguments).await;
        assert_eq!(answer.error(), "missing_argument");
    }
    let (id, url) = begin(&slack, 3).await;
    let share = |channel: &str| json!({"files": [{"id": id}], "channel_id": channel});
    assert_eq!(
        call(&slack, COMPLETE, share("a")).await.error(),
        "file_not_found"
    );
    assert_eq!(send("POST", &url, &[], "four").await.status.as_u16(), 400);
    assert_eq!(
        send("POST", &format!("{url}0"), &[], "abc")
            .await
            .status
            .as_u16(),
        404
    );
    assert_eq!(send("POST", &url, &[], "abc").await.status.as_u16(), 200);
    slack.change_channel("left", |channel| channel.member = false);
    slack.change_channel("old", |channel| channel.archived = true);
    for (arguments, error) in [
        (share("left"), "not_in_channel"),
        (share("old"), "posting_to_channel_denied"),
        (json!({"files": [], "channel_id": "a"}), "invalid_arguments"),
        (
            json!({"files": [{"id": "F9"}], "channel_id": "a"}),
            "file_not_found",
        ),
        (share("a"), ""),
    ] {
        assert_eq!(call(&slack, COMPLETE, arguments).await.error(), error);
    }
}

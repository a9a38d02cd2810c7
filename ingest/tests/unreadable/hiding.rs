//! What a client may write.

use crate::become_of;

/// Whatever a client writes, the API server's encoder makes it JSON: none of it may keep its event from
/// being told, with its body.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_hides_its_event() {
    // As Go's encoding/json writes them.
    let texts = [
        "",
        " ",
        r"\u0000",
        r"\u003c!channel\u003e\u0026",
        r"\u2028\u2029",
        r"\ufffd",
        "\u{fffd}",
        r#"\""#,
        r"\\",
        r#"\"},{\"level\":\"None\""#,
        r"\u001b[2J\r\n\t",
        "😀é\u{202e}\u{feff}",
        "../etc",
        "null",
        "]}",
        "{",
        r"\\ud800",
        r"\\u0000",
        "\u{7f}",
        "-1e999",
    ];
    let fields = [
        r#","auditID":"@""#,
        r#","requestURI":"@""#,
        r#","verb":"@""#,
        r#","user":{"username":"@"}"#,
        r#","user":{"groups":["@","@"],"uid":"@","extra":{"@":["@"]}}"#,
        r#","impersonatedUser":{"username":"@","groups":["@"]}"#,
        r#","sourceIPs":["@","10.0.0.1"]"#,
        r#","userAgent":"@""#,
        r#","objectRef":{"resource":"@","namespace":"@","name":"@","uid":"@"}"#,
        r#","objectRef":{"apiGroup":"@","apiVersion":"@","subresource":"@","resourceVersion":"@"}"#,
        r#","responseStatus":{"status":"@","message":"@","reason":"@","code":404}"#,
        r#","annotations":{"@":"@","authorization.k8s.io/reason":"@"}"#,
        r#","requestObject":{"@":["@"]}"#,
        r#","requestObject":"@""#,
        r#","responseObject":[{"op":"@"}]"#,
        r#","authenticationMetadata":{"impersonationConstraint":"@"}"#,
    ];
    let mut events = Vec::new();
    for field in fields {
        for text in texts {
            let rest = field.replace('@', text);
            events.push(format!(r#"{{"level":"Request","stage":"Panic"{rest}}}"#).into_bytes());
        }
    }
    let sent = events.clone();
    for (sent, (json, reason, without_body)) in sent.iter().zip(become_of(events).await) {
        let sent = String::from_utf8_lossy(sent);
        assert_eq!((reason, without_body), (None, false), "{sent}: {json}");
    }
}

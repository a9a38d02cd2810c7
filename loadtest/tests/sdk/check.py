"""Drives the local Slack with Slack's own SDK for Python.

Environment: SLACK is its address (http://127.0.0.1:PORT). Any surprise ends it with a traceback.
"""

import json
import os
import urllib.request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import (
    ConnectionErrorRetryHandler,
    RateLimitErrorRetryHandler,
    ServerErrorRetryHandler,
)
from slack_sdk.models.blocks import HeaderBlock, RichTextBlock, RichTextSectionElement, SectionBlock
from slack_sdk.models.blocks.block_elements import RichTextElementParts
from slack_sdk.models.metadata import Metadata
from slack_sdk.webhook import WebhookClient

SLACK = os.environ["SLACK"]


def client(token="xoxb-python", handlers=()):
    return WebClient(
        token=token, base_url=SLACK + "/api/", timeout=10, retry_handlers=list(handlers)
    )


def inject(effect, **where):
    body = json.dumps({"effect": effect, **where}).encode()
    urllib.request.urlopen(SLACK + "/inject", data=body, timeout=10).read()


def fails(call, *args, **kwargs):
    """The error of a call that must fail."""
    try:
        answer = call(*args, **kwargs)
    except SlackApiError as error:
        return error
    raise AssertionError(f"no error: {answer}")


def messages(slack):
    assert slack.auth_test()["bot_id"] == "B000"
    rich = RichTextBlock(
        elements=[RichTextSectionElement(elements=[RichTextElementParts.Text(text="<rich>")])]
    )
    posted = slack.chat_postMessage(
        channel="python",
        text="one",
        blocks=[HeaderBlock(text="head"), SectionBlock(text="*section*"), rich],
        metadata=Metadata("auditrelay_message", {"id": "p1", "n": 1}),
        unfurl_links=False,
        unfurl_media=False,
    )
    assert posted["message"]["blocks"][0]["type"] == "header", posted
    assert "chat:write" in posted.headers["x-oauth-scopes"], posted.headers
    ts = posted["ts"]
    slack.chat_postMessage(channel="python", text="reply", thread_ts=ts)
    slack.chat_update(channel=posted["channel"], ts=ts, text="changed")
    bare = slack.conversations_history(channel="python", oldest=ts, inclusive=True)
    assert bare["messages"][0]["metadata"] == {"event_type": "auditrelay_message"}, bare
    whole = slack.conversations_history(
        channel="python", oldest=ts, inclusive=True, include_all_metadata=True
    )
    first = whole["messages"][0]
    assert first["metadata"]["event_payload"] == {"id": "p1", "n": 1}, first
    assert first["text"] == "changed" and first["reply_count"] == 1, first
    thread = slack.conversations_replies(channel="python", ts=ts)
    assert [message["text"] for message in thread["messages"]] == ["changed", "reply"], thread


def channels(slack):
    for name in ["l1", "l2", "l3"]:
        body = json.dumps({"id": name, "member": False}).encode()
        urllib.request.urlopen(SLACK + "/control/channel", data=body, timeout=10).read()
    listed = [
        channel["id"]
        for page in slack.conversations_list(limit=2)
        for channel in page["channels"]
    ]
    assert listed == ["l1", "l2", "l3"], listed
    assert not slack.conversations_info(channel="l1")["channel"]["is_member"]
    assert slack.conversations_join(channel="l1")["channel"]["is_member"]


def files(slack):
    shared = slack.files_upload_v2(
        channel="python", filename="events.txt", content="line <1>\n", title="Events"
    )
    assert shared["file"]["id"].startswith("F"), shared


def webhooks():
    hook = WebhookClient(SLACK + "/services/T000/B000/python", timeout=10)
    answer = hook.send(text="hook", blocks=[SectionBlock(text="b")], unfurl_links=False)
    assert (answer.status_code, answer.body) == (200, "ok"), answer.body
    answer = hook.send_dict({"text": ""})
    assert (answer.status_code, answer.body) == (400, "no_text"), answer.body


def failures(slack):
    inject({"kind": "retry_after", "seconds": 1}, channel="python")
    patient = client(handlers=[RateLimitErrorRetryHandler(max_retry_count=1)])
    patient.chat_postMessage(channel="python", text="after 429")
    inject({"kind": "retry_after", "seconds": 1}, method="conversations.info")
    error = fails(slack.conversations_info, channel="python")
    assert error.response.status_code == 429, error
    assert error.response.headers["Retry-After"] == "1", error.response.headers
    inject({"kind": "http_status", "status": 503})
    error = fails(slack.chat_postMessage, channel="python", text="never")
    assert error.response.status_code == 503, error
    inject({"kind": "http_status", "status": 503})
    client(handlers=[ServerErrorRetryHandler()]).chat_postMessage(
        channel="python", text="after 503"
    )
    inject({"kind": "close_before_storing"})
    client(handlers=[ConnectionErrorRetryHandler()]).chat_postMessage(
        channel="python", text="after a lost connection"
    )
    assert fails(client(token="xoxp-bad").auth_test).response["error"] == "invalid_auth"
    error = fails(slack.chat_postMessage, channel="python", blocks=[{"type": "header"}])
    assert error.response["error"] == "invalid_blocks", error
    assert error.response["errors"] == [
        "missing required field: text [json-pointer:/blocks/0]"
    ], error


def main():
    slack = client()
    messages(slack)
    channels(slack)
    files(slack)
    webhooks()
    failures(slack)


main()

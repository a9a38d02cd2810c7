//! Messages of hostile events, judged by the local Slack: that Slack takes each of them (`validate`), that
//! nothing in it can notify, link or deceive (what `Post::audit` holds), that no event is left out of it, and
//! that no secret stands in it.
//!
//! The judge shares nothing with what it judges: it reads what would be posted. Events are real ones
//! (`corpus.jsonl`, from a kube-apiserver of a throw-away cluster) with parts of them replaced by what an
//! attacker would like to see there, and JSON that is no event at all.
//!
//! `AUDITRELAY_JUDGE_CASES` runs more cases than a few dozen.

mod events;
mod judge;
mod messages;
mod planted;
mod secrets;

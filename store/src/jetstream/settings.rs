//! The settings of a stream that is there, against those that a promise of the queue rests on.
//!
//! Contract: a difference is refused with what is there, what is needed and what to do, unless it can be raised without
//! harm, or somebody gave more.

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};

use super::error::JetStreamError;

/// Looks at a stream that is there; what has to be raised, if it is anything.
pub(super) fn compare(has: &Config, needs: &Config) -> Result<Option<Config>, JetStreamError> {
    let refuse = |setting, has_it: String, needs_it: String, advice: String| {
        Err(JetStreamError::Setting {
            stream: needs.name.clone(),
            setting,
            has: has_it,
            needs: needs_it,
            advice,
        })
    };
    for (setting, has_it, needs_it) in fixed(has, needs) {
        if has_it != needs_it {
            let advice = "that cannot be changed; choose another queue.jetstream.name, or delete the stream once nothing in it is needed";
            return refuse(setting, has_it, needs_it, advice.to_owned());
        }
    }
    for (setting, has_it, needs_it, flag) in editable(has, needs) {
        if has_it != needs_it {
            let advice = format!("nats stream edit {} {flag}", needs.name);
            return refuse(setting, has_it, needs_it, advice);
        }
    }
    if has.max_bytes <= 0 {
        let advice = format!(
            "nats stream edit {} --max-bytes={}",
            needs.name, needs.max_bytes
        );
        return refuse(
            "max_bytes",
            "no limit".to_owned(),
            needs.max_bytes.to_string(),
            advice,
        );
    }
    let raised = Config {
        max_bytes: has.max_bytes.max(needs.max_bytes),
        num_replicas: has.num_replicas.max(needs.num_replicas),
        duplicate_window: has.duplicate_window.max(needs.duplicate_window),
        allow_direct: false,
        ..has.clone()
    };
    Ok((raised != *has).then_some(raised))
}

/// What a stream keeps for as long as it is there: the setting, what it is, what it has to be.
fn fixed(has: &Config, needs: &Config) -> Vec<(&'static str, String, String)> {
    let retention = |config: &Config| match config.retention {
        RetentionPolicy::Limits => "limits".to_owned(),
        RetentionPolicy::Interest => "interest".to_owned(),
        RetentionPolicy::WorkQueue => "workqueue".to_owned(),
    };
    let storage = |config: &Config| match config.storage {
        StorageType::File => "file".to_owned(),
        StorageType::Memory => "memory".to_owned(),
    };
    let persist = |config: &Config| match config.persist_mode {
        Some(PersistenceMode::Async) => "async".to_owned(),
        _ => "default".to_owned(),
    };
    let from = |config: &Config| {
        let is_copy =
            config.mirror.is_some() || config.sources.as_ref().is_some_and(|from| !from.is_empty());
        yes_or_no(is_copy)
    };
    vec![
        ("retention", retention(has), retention(needs)),
        ("storage", storage(has), storage(needs)),
        ("persist_mode", persist(has), persist(needs)),
        ("mirror or sources", from(has), from(needs)),
        ("sealed", yes_or_no(has.sealed), yes_or_no(needs.sealed)),
        (
            "deny_delete",
            yes_or_no(has.deny_delete),
            yes_or_no(needs.deny_delete),
        ),
        (
            "deny_purge",
            yes_or_no(has.deny_purge),
            yes_or_no(needs.deny_purge),
        ),
    ]
}

/// What can be changed, with the flag that does it.
fn editable(has: &Config, needs: &Config) -> Vec<(&'static str, String, String, String)> {
    let discard = |config: &Config| match config.discard {
        DiscardPolicy::New => "new".to_owned(),
        DiscardPolicy::Old => "old".to_owned(),
    };
    let limit = |limit: i64| match limit {
        ..=0 => "no limit".to_owned(),
        limit => limit.to_string(),
    };
    let age = |config: &Config| {
        if config.max_age.is_zero() {
            "no limit".to_owned()
        } else {
            format!("{:?}", config.max_age)
        }
    };
    let transform = |config: &Config| yes_or_no(config.subject_transform.is_some());
    let per_subject = needs.max_messages_per_subject;
    let subjects = sorted(needs);
    vec![
        (
            "subjects",
            sorted(has),
            subjects.clone(),
            format!("--subjects='{subjects}'"),
        ),
        (
            "discard",
            discard(has),
            discard(needs),
            "--discard=new".to_owned(),
        ),
        (
            "discard_new_per_subject",
            yes_or_no(has.discard_new_per_subject),
            yes_or_no(false),
            "--no-discard-per-subject".to_owned(),
        ),
        ("max_age", age(has), age(needs), "--max-age=0s".to_owned()),
        (
            "max_msgs",
            limit(has.max_messages),
            limit(needs.max_messages),
            "--max-msgs=-1".to_owned(),
        ),
        (
            "max_msgs_per_subject",
            limit(has.max_messages_per_subject),
            limit(per_subject),
            format!("--max-msgs-per-subject={per_subject}"),
        ),
        (
            "max_msg_size",
            limit(has.max_message_size.into()),
            limit(needs.max_message_size.into()),
            "--max-msg-size=-1".to_owned(),
        ),
        (
            "no_ack",
            yes_or_no(has.no_ack),
            yes_or_no(needs.no_ack),
            "--ack".to_owned(),
        ),
        (
            "subject_transform",
            transform(has),
            transform(needs),
            "without a transform".to_owned(),
        ),
    ]
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn sorted(config: &Config) -> String {
    let mut subjects = config.subjects.clone();
    subjects.sort_unstable();
    subjects.join(",")
}

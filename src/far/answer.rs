//! The side of the relay that leads: it answers what other replicas ask, as its own admin port would.

use std::sync::Arc;

use auditrelay_store::jetstream::{Gone, Question, Questions};
use hyper::{StatusCode, body::Bytes};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{Asked, Head, Refused};
use crate::admin::Admin;

/// Questions that are answered at a time, of all replicas; commands have fewer places of their own.
const ANSWERS_MAX: usize = 16;
/// So much of a command's lines goes at once, if there is so much.
const GATHERED_BYTES: usize = 64 << 10;

/// Answers until it is dropped; what is being answered ends with it.
pub(crate) async fn answer_for(admin: Arc<Admin>, mut questions: Questions) {
    let places = Arc::new(Semaphore::new(ANSWERS_MAX));
    let mut answers = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while answers.try_join_next().is_some() {}
        let Some(question) = questions.next().await else {
            return;
        };
        let admin = Arc::clone(&admin);
        answers.spawn(async move {
            if answer(&admin, question).await.is_err() {
                tracing::debug!("another replica asked, and took the answer no more");
            }
            drop(place);
        });
    }
}

async fn answer(admin: &Admin, question: Question) -> Result<(), Gone> {
    match told(admin, &question.text) {
        Ok(Told::Page(page)) => say(&question, StatusCode::OK, page).await?,
        Ok(Told::Lines(mut lines)) => {
            say(&question, StatusCode::OK, Vec::new()).await?;
            while let Some(line) = lines.recv().await {
                let mut text = line.to_vec();
                while text.len() < GATHERED_BYTES
                    && let Ok(line) = lines.try_recv()
                {
                    text.extend_from_slice(&line);
                }
                question.say(text.into()).await?;
            }
        }
        Err((status, reason)) => say(&question, status, reason.into_bytes()).await?,
    }
    question.end().await
}

/// What is answered.
enum Told {
    Page(Vec<u8>),
    Lines(mpsc::Receiver<Bytes>),
}

fn told(admin: &Admin, text: &[u8]) -> Result<Told, Refused> {
    let asked: Asked = serde_json::from_slice(text).map_err(|_| {
        let reason = "the relay that leads does not know this request; is it another version?";
        (StatusCode::BAD_REQUEST, reason.to_owned())
    })?;
    match asked {
        Asked::Command(request) => admin.commands.begin(request).map(Told::Lines),
        Asked::Ledger {} => admin.own_ledger().map(Told::Page),
        Asked::Status {} => admin.own_status().map(Told::Page),
    }
}

async fn say(question: &Question, status: StatusCode, text: Vec<u8>) -> Result<(), Gone> {
    let status = status.as_u16();
    // A number cannot fail to be written.
    let mut said = serde_json::to_vec(&Head { status }).unwrap_or_default();
    said.push(b'\n');
    said.extend(text);
    question.say(said.into()).await
}

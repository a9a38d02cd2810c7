//! Lanes that run, and how one takes another's place while the relay runs.
//!
//! Invariants:
//! * a channel has one lane at a time: the next one begins when the one before has ended, which finishes the message
//!   that it is at. What it had leased is in the queue, and the next one's first work;
//! * a lane of which nothing changed is not touched, whatever became of others;
//! * nothing goes earlier because a lane was exchanged: the pace and holds of places and the budgets of tokens stay, by
//!   what they are of, and pass to a token that takes the place of another;
//! * the next lane of a channel goes on with what the one before knew ([`Memory`]), also where the channel was away for a
//!   while or posts somewhere else: what may have been posted stays marked;
//! * a channel that is not wanted any more has no lane; what waits for it stays in the queue;
//! * all of it ends with its term: quietly, as if it had been told to;
//! * where somebody may have posted for this queue before (a process that ended, a relay that led), bursts and budgets
//!   begin empty, and what Slack asked that one to wait for is waited for, as far as it is known ([`HoldBook`]).

use std::{
    collections::{HashMap, HashSet},
    io::{self, IsTerminal},
    mem::discriminant,
    sync::Arc,
};

use auditrelay_audit::HashKey;
use auditrelay_config::{ChannelName, Config};
use auditrelay_dispatch::{
    Destination, HoldBook, HoldKey, Lane, Metrics, Term, Workspace,
    lane::{Memory, Setup},
    pace::Place,
    plain_webhook::PlainWebhook,
    preview::Preview,
    render::Style,
    slack::{Http, SlackApi, SlackWebhook},
};
use auditrelay_store::{Engine, Queue, QueueError};
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinError, JoinSet},
};

use super::{Plan, To, Wanted};

/// Lanes that may hold the text of a lease in memory at a time.
const RENDERING_MAX: usize = 2;
/// So much is remembered of tokens, places and channels that are not in use any more.
const SPARE_MAX: usize = 256;

/// What lanes share, and those that run.
pub(crate) struct Lanes {
    queue: Engine,
    metrics: Metrics,
    key: HashKey,
    rendering: Arc<Semaphore>,
    /// For how long lanes may post.
    term: Term,
    /// Where holds are noted for whoever leads next.
    holds: HoldBook,
    /// Somebody may have posted before.
    served: bool,
    /// By token, and for webhooks by workspace.
    workspaces: HashMap<String, Workspace>,
    /// What metrics call these.
    named: HashSet<ChannelName>,
    /// By token or webhook, and channel.
    places: HashMap<(String, String), Place>,
    /// Of the last lane of a channel, where it has ended, and where that posted to.
    memories: HashMap<ChannelName, (To, Memory)>,
    running: HashMap<ChannelName, Running>,
    tasks: JoinSet<(ChannelName, Result<Memory, QueueError>)>,
    /// What is said of it.
    shared: watch::Sender<Shared>,
}

struct Running {
    wanted: Arc<Wanted>,
    stop: watch::Sender<bool>,
}

/// What lanes that run share, for who asks Slack beside them.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) http: Http,
    /// By token.
    pub(crate) workspaces: HashMap<String, Workspace>,
}

impl Lanes {
    /// For the lanes of this plan and of those that follow; none runs yet.
    pub(crate) fn new(
        queue: Engine,
        metrics: Metrics,
        key: HashKey,
        (term, holds): (Term, HoldBook),
        plan: &Plan,
    ) -> Self {
        let ledger = queue.ledger();
        let served = ledger.received > 0 || !ledger.notices.is_empty() || ledger.lost > 0;
        let shared = Shared {
            config: Arc::clone(&plan.config),
            http: plan.http.clone().timed(metrics.slack_requests.clone()),
            workspaces: HashMap::new(),
        };
        let mut lanes = Self {
            queue,
            metrics,
            key,
            rendering: Arc::new(Semaphore::new(RENDERING_MAX)),
            term,
            holds,
            served,
            workspaces: HashMap::new(),
            named: HashSet::new(),
            places: HashMap::new(),
            memories: HashMap::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            shared: watch::Sender::new(shared),
        };
        lanes.provide(plan);
        lanes
    }

    /// What lanes share, whenever that is another.
    pub(crate) fn shared(&self) -> watch::Receiver<Shared> {
        self.shared.subscribe()
    }

    /// Makes what the lanes of a plan share.
    fn provide(&mut self, plan: &Plan) {
        let mut used = HashSet::new();
        let mut named = HashMap::new();
        let exchanged = self.exchanged(plan);
        self.provide_workspaces(plan, &exchanged);
        for (name, wanted) in &plan.lanes {
            let to = &wanted.same.to;
            if let Some(who) = to.workspace()
                && let Some(workspace) = self.workspaces.get(&who)
            {
                let messages = plan.messages_per_minute;
                workspace.set_budget(messages, plan.lookups_per_minute);
                // Channels come in the order of their names, and metrics call a token by the first.
                named.entry(who).or_insert_with(|| {
                    workspace.count_posts(self.metrics.workspace(name.as_str(), messages));
                    name.clone()
                });
            }
            // Two channels that post to the same place share its pace, that of the first.
            let key = to.place(name);
            if used.insert(key.clone()) {
                self.provide_place(key, wanted, &exchanged);
            }
        }
        let names: HashSet<_> = named.into_values().collect();
        for name in self.named.difference(&names) {
            self.metrics.stop_workspace(name.as_str());
        }
        self.named = names;
        if self.places.len() > plan.lanes.len() + SPARE_MAX {
            let places = &mut self.places;
            places.retain(|key, place| used.contains(key) || place.is_held());
        }
        if self.workspaces.len() > plan.lanes.len() + SPARE_MAX {
            let used = plan.workspaces();
            let workspaces = &mut self.workspaces;
            workspaces.retain(|who, one| used.contains(who) || one.is_held());
        }
        if self.memories.len() > plan.lanes.len() + SPARE_MAX {
            self.memories.retain(|_, (_, memory)| memory.holds());
        }
        self.shared.send_replace(Shared {
            config: Arc::clone(&plan.config),
            http: plan.http.clone().timed(self.metrics.slack_requests.clone()),
            workspaces: self.workspaces.clone(),
        });
    }

    /// Tokens that take the place of others: channels keep everything else of where they post.
    fn exchanged(&self, plan: &Plan) -> HashMap<String, String> {
        let mut exchanged = HashMap::new();
        for (name, wanted) in &plan.lanes {
            let to = &wanted.same.to;
            let running = self.running.get(name);
            let ended = || self.memories.get(name).map(|(to, _)| to);
            let before = running.map(|one| &one.wanted.same.to).or_else(ended);
            let before = before.filter(|before| before.end() == to.end());
            if let (Some(before), Some(who)) = (before.and_then(To::workspace), to.workspace())
                && before != who
            {
                exchanged.entry(who).or_insert(before);
            }
        }
        exchanged
    }

    fn provide_workspaces(&mut self, plan: &Plan, exchanged: &HashMap<String, String>) {
        let mut used = plan.workspaces();
        for who in used.clone() {
            if self.workspaces.contains_key(&who) {
                continue;
            }
            let (messages, lookups) = (plan.messages_per_minute, plan.lookups_per_minute);
            let before = exchanged.get(&who);
            let new = match before.and_then(|before| Some((before, self.workspaces.get(before)?))) {
                // One takes its place.
                Some((before, workspace)) if used.insert(before.clone()) => workspace.rotated(),
                Some((_, workspace)) => workspace.parted(messages, lookups),
                None if self.served => Workspace::new(messages, lookups).emptied(),
                None => Workspace::new(messages, lookups),
            };
            let new = new.noted_in(&self.holds, HoldKey::workspace(&self.key, &who));
            self.workspaces.insert(who, new);
        }
    }

    fn provide_place(
        &mut self,
        key: (String, String),
        wanted: &Wanted,
        exchanged: &HashMap<String, String>,
    ) {
        let config = &wanted.same.config;
        let (interval, burst) = (config.message_interval(), config.message_burst.get());
        if let Some(place) = self.places.get(&key) {
            return place.set_pace(interval, burst);
        }
        // A webhook has no name but its secret.
        let name = match key.1.as_str() {
            "webhook" => format!("webhook {}", self.places.len()),
            name => name.to_owned(),
        };
        let mut place = Place::new(&name, interval, burst);
        let before = exchanged.get(&key.0);
        let before = before.map(|before| (before.clone(), key.1.clone()));
        if let Some(before) = before.and_then(|before| self.places.get(&before)) {
            place = place.held_as(before);
        }
        if self.served {
            place = place.emptied(interval);
        }
        let place = place.noted_in(&self.holds, HoldKey::place(&self.key, &key.0, &key.1));
        self.places.insert(key, place);
    }

    /// Runs the lanes of the last plan until the shutdown, or the end of the term.
    ///
    /// # Errors
    /// The queue's, or a lane that ended by itself.
    pub(crate) async fn run(
        mut self,
        mut plans: watch::Receiver<Arc<Plan>>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), QueueError> {
        let mut may_change = true;
        // What they were made for may not be the last one any more.
        let is_other = plans.has_changed().unwrap_or(false);
        let mut plan = Arc::clone(&plans.borrow_and_update());
        if is_other {
            self.provide(&plan);
        }
        loop {
            self.reconcile(&plan);
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                () = self.term.over() => break,
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                changed = plans.changed(), if may_change => {
                    may_change = changed.is_ok();
                    plan = Arc::clone(&plans.borrow_and_update());
                    self.provide(&plan);
                }
            }
        }
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    /// Tells lanes to end that are not wanted so any more, and begins those that are missing.
    fn reconcile(&mut self, plan: &Plan) {
        for (name, running) in &self.running {
            let wanted = plan.lanes.get(name);
            if wanted.is_none_or(|wanted| wanted.same != running.wanted.same) {
                running.stop.send_replace(true);
            }
        }
        for (name, wanted) in &plan.lanes {
            if !self.running.contains_key(name) {
                self.begin(name, wanted);
            }
        }
        for (name, (_, memory)) in &mut self.memories {
            if !self.running.contains_key(name) {
                memory.was_away();
                self.metrics.stop_channel(name.as_str());
            }
        }
    }

    fn ended(
        &mut self,
        ended: Result<(ChannelName, Result<Memory, QueueError>), JoinError>,
    ) -> Result<(), QueueError> {
        let (name, outcome) = ended.map_err(|_panicked| QueueError::Closed)?;
        let memory = outcome?;
        let running = self.running.remove(&name);
        // None ends by itself, but with the term.
        let may_end = |running: &Running| *running.stop.borrow() || self.term.is_over();
        let Some(running) = running.filter(may_end) else {
            return Err(QueueError::Closed);
        };
        let to = running.wanted.same.to.clone();
        self.memories.insert(name, (to, memory));
        Ok(())
    }

    fn begin(&mut self, name: &ChannelName, wanted: &Arc<Wanted>) {
        let to = &wanted.same.to;
        let place = self.places.get(&to.place(name)).cloned();
        let workspace = to
            .workspace()
            .and_then(|who| self.workspaces.get(&who).cloned());
        match (to, &wanted.api, place, workspace) {
            (To::Api { channel, .. }, Some(api), Some(place), Some(workspace)) => {
                let api = api.clone().timed(self.metrics.slack_requests.clone());
                let api = api.within(self.term.clone()).paced(Some(place.clone()));
                let slack = SlackApi::new(api, channel, workspace.clone());
                self.spawn(name, wanted, place, Some(workspace), slack);
            }
            (To::Webhook { url, .. }, _, Some(place), workspace) => {
                let http = wanted.http.clone().within(self.term.clone());
                let http = http.timed(self.metrics.slack_requests.clone());
                let http = http.paced(Some(place.clone()));
                let webhook = SlackWebhook::new(http, &url.0);
                self.spawn(name, wanted, place, workspace, webhook);
            }
            (To::Switch { url, .. }, _, Some(place), _) => {
                let http = wanted.http.clone().within(self.term.clone());
                let http = http.paced(Some(place.clone()));
                let switch = PlainWebhook::new(&http, &url.0);
                self.spawn(name, wanted, place, None, switch);
            }
            (To::Preview, _, Some(place), _) => {
                let preview = Preview::new(name.as_str(), io::stdout().is_terminal());
                self.spawn(name, wanted, place, None, preview);
            }
            // `provide` made all of it.
            _ => {
                tracing::error!(channel = %name, "a channel has no lane, which is a fault of the relay: its events wait; please report it, and start the relay again")
            }
        }
    }

    fn spawn<D: Destination>(
        &mut self,
        name: &ChannelName,
        wanted: &Arc<Wanted>,
        place: Place,
        workspace: Option<Workspace>,
        destination: D,
    ) {
        let same = &wanted.same;
        let setup = Setup {
            queue: self.queue.clone(),
            channel: name.as_str(),
            config: &same.config,
            style: Style::of(
                &same.config,
                same.keeps_members,
                Arc::clone(&wanted.templates),
            ),
            place,
            workspace,
            key: self.key.clone(),
            metrics: self.metrics.clone(),
            rendering: Arc::clone(&self.rendering),
            term: self.term.clone(),
        };
        let mut lane = Lane::new(setup, destination);
        if let Some((before, mut memory)) = self.memories.remove(name) {
            if before.end() != same.to.end() {
                memory.moved(discriminant(&before) != discriminant(&same.to));
            } else if before != same.to {
                memory.try_at_once();
            }
            lane = lane.resuming(memory);
        }
        let (stop, stopped) = watch::channel(false);
        let channel = name.clone();
        self.tasks
            .spawn(async move { (channel, lane.run(stopped).await) });
        let wanted = Arc::clone(wanted);
        self.running.insert(name.clone(), Running { wanted, stop });
    }
}

//! Whether what a table can say of an event has a number: the door, which sees an event as it was sent, tells the router
//! by it which routes match. Where it has none the router asks the routes again, about what was stored of the event.
//! That is as good, but for a body: it may have been taken out, in whole or in part.

use super::RouteConfig;

/// So many answers have a number.
const ANSWERS_MAX: usize = 65_533;

/// Why what these routes say of a body could get lost, if it could.
pub(crate) fn fault(routes: &[RouteConfig]) -> Option<String> {
    let reads_bodies = |route: &RouteConfig| route.dry_run.is_some() || !route.risks.is_empty();
    let reader = routes.iter().find(|route| reads_bodies(route))?;
    let open = routes.iter().filter(|route| is_open(route)).count();
    let open_max = open_max(routes.len());
    (open > open_max).then(|| {
        format!(
            "found {open} open routes (with rate, auditIDReused or continue) among {} in all, starter routes included, \
             expected at most {open_max} where a route reads bodies ({:?} does, with risks or dryRun): which of them \
             match could not be noted, and a body is not there to be read again; use fewer open routes, or fewer in all",
            routes.len(),
            reader.name.as_str(),
        )
    })
}

fn is_open(route: &RouteConfig) -> bool {
    route.continues || route.rate.is_some() || route.audit_id_reused
}

/// An answer is which of the open routes match, and which of all ends it, if one does.
fn open_max(routes: usize) -> usize {
    let answers = ANSWERS_MAX / (routes + 1);
    answers.checked_ilog2().map_or(0, |bits| bits as usize)
}

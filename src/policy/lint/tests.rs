//! Each finding, on a policy that has it, and none on one that has not.

use auditrelay_audit::policy;

use super::*;

const OURS: &str = include_str!("../../init/set/audit-policy.yaml");

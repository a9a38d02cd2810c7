//! The keys that say which events are meant: those of routes, and of mutes alone.
//!
//! Contract: each struct made by [`with_match`] has every one of them, under the same names.

/// A struct with the keys of a match beside its own. (serde's `flatten` loses the place of an error.)
macro_rules! with_match {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// Names of users.
            #[serde(default)]
            pub users: Vec<String>,
            /// Groups, of which the user is in at least one.
            #[serde(default)]
            pub user_groups: Vec<String>,
            /// Verbs such as `get` and `create`.
            #[serde(default)]
            pub verbs: Vec<String>,
            /// Resources by API group.
            #[serde(default)]
            pub resources: Vec<$crate::route::RouteResources>,
            /// Namespaces; the empty string is that of resources without one.
            #[serde(default)]
            pub namespaces: Vec<String>,
            /// Paths of requests that are not about resources; a `*` at the end matches any rest.
            #[serde(default, rename = "nonResourceURLs")]
            pub non_resource_urls: Vec<String>,
            /// Clusters.
            #[serde(default)]
            pub cluster: $crate::route::OneOrMore<$crate::names::ClusterName>,
            /// Stages of a request.
            #[serde(default)]
            pub stages: Vec<auditrelay_audit::Stage>,
            /// Audit levels.
            #[serde(default)]
            pub levels: Vec<auditrelay_audit::Level>,
            /// HTTP status codes, classes and ranges of them.
            #[serde(default)]
            pub codes: Vec<$crate::route::CodesConfig>,
            /// What the authorizer decided.
            #[serde(default)]
            pub decision: Option<auditrelay_audit::AuthorizerDecision>,
            /// As whom the request was made.
            #[serde(default)]
            pub impersonated: Option<$crate::route::ImpersonatedConfig>,
            /// Networks of the API server's own peer.
            #[serde(default, rename = "sourceIPs")]
            pub source_ips: Vec<$crate::route::NetworkConfig>,
            /// Patterns of what the client calls itself.
            #[serde(default)]
            pub user_agents: Vec<$crate::route::GlobConfig>,
            /// Patterns of annotations, by their keys; each has to be there.
            #[serde(default)]
            pub annotations: std::collections::BTreeMap<String, $crate::route::GlobConfig>,
            /// Whether nothing was to be changed.
            #[serde(default)]
            pub dry_run: Option<bool>,
            /// What the request's body would grant or run.
            #[serde(default)]
            pub risks: Vec<auditrelay_audit::Risk>,
        }

        impl $name {
            /// What an event must be to match.
            #[must_use]
            pub fn matcher(&self) -> auditrelay_audit::Matcher {
                auditrelay_audit::Matcher {
                    rule: auditrelay_audit::policy::Match {
                        users: self.users.clone(),
                        user_groups: self.user_groups.clone(),
                        verbs: self.verbs.clone(),
                        resources: self
                            .resources
                            .iter()
                            .map($crate::route::RouteResources::matched)
                            .collect(),
                        namespaces: self.namespaces.clone(),
                        non_resource_urls: self.non_resource_urls.clone(),
                    },
                    clusters: self.cluster.iter().map(ToString::to_string).collect(),
                    stages: self.stages.clone(),
                    levels: self.levels.clone(),
                    codes: self.codes.iter().map(|codes| codes.0).collect(),
                    decision: self.decision,
                    impersonated: self.impersonated.as_ref().map(|user| user.matched()),
                    source_ips: self.source_ips.iter().map(|network| network.0).collect(),
                    user_agents: self.user_agents.iter().map(|glob| glob.0.clone()).collect(),
                    annotations: self
                        .annotations
                        .iter()
                        .map(|(key, glob)| (key.clone(), glob.0.clone()))
                        .collect(),
                    dry_run: self.dry_run,
                    risks: self.risks.clone(),
                }
            }

            /// The keys that faults of a match are about.
            pub(crate) fn rule_keys(&self) -> $crate::route::fault::Keys<'_> {
                $crate::route::fault::Keys {
                    resources: &self.resources,
                    namespaces: &self.namespaces,
                    non_resource_urls: &self.non_resource_urls,
                    source_ips: &self.source_ips,
                    impersonated: self.impersonated.as_ref(),
                }
            }
        }
    };
}

impl MatchConfig {
    /// What is wrong with it as a rule: the key, and the problem.
    #[must_use]
    pub fn fault(&self) -> Option<(String, String)> {
        super::fault::of_match(&self.rule_keys())
    }
}

with_match! {
    /// Which events are meant, and nothing else.
    #[derive(Default)]
    pub struct MatchConfig {}
}

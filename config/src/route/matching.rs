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
                }
            }
        }
    };
}

with_match! {
    /// Which events are meant, and nothing else.
    #[derive(Default)]
    pub struct MatchConfig {}
}

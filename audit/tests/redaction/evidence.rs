//! What a client writes must not hide what happened: not by parameters, arguments, or values of the environment.

use serde_json::json;

use crate::rules::{event, redacted};

const BINDING_URI: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?token=cluster-admin&token=alice&token=ClusterRole";

#[test]
fn a_parameter_takes_nothing_out_of_a_body() {
    let binding = json!({"kind": "ClusterRoleBinding", "metadata": {"name": "alice"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "User", "name": "alice"}]});
    let huge = format!("/apis/x/clusterrolebindings?token={}", "x".repeat(65_537));
    let many: String = (0..500).map(|n| format!("token=value-{n}&")).collect();
    let many = format!("/apis/x/clusterrolebindings?{many}");
    for uri in [BINDING_URI, &huge, &many] {
        let event = event(
            "clusterrolebindings",
            json!({"requestURI": uri, "requestObject": binding, "responseObject": binding}),
        );
        let told = redacted(&event);
        assert_ne!(told["requestURI"], event["requestURI"]);
        assert_eq!(told["requestObject"], binding);
        assert_eq!(told["responseObject"], binding);
    }
    // Nor by calling its body what quotes an address.
    let mut posing = binding;
    posing["message"] = "cluster-admin".into();
    posing["details"] = json!({"causes": [{"message": "cluster-admin"}]});
    for kind in ["Status", "PodExecOptions"] {
        posing["kind"] = kind.into();
        let event = event(
            "clusterrolebindings",
            json!({"requestURI": BINDING_URI, "requestObject": posing}),
        );
        assert_eq!(redacted(&event)["requestObject"], posing);
    }
}

#[test]
fn a_parameter_takes_nothing_out_of_what_was_decided() {
    let uri = "/api/v1/x?token=cluster-admin&token=forbid&token=denied&token=alice&token=gatekeeper&token=pods";
    let huge = format!("/api/v1/x?token={}", "x".repeat(65_537));
    let details = json!({"name": "alice", "kind": "pods", "group": "gatekeeper"});
    for uri in [uri, &huge] {
        for (code, message) in [
            (
                403,
                r#"pods "alice" is forbidden: User "alice" cannot create resource "pods" in API group "" in the namespace "x""#,
            ),
            (404, r#"pods "alice" not found"#),
            (409, r#"pods "alice" already exists"#),
            (
                403,
                r#"admission webhook "gatekeeper" denied the request: "#,
            ),
            (
                422,
                r#"pods "alice" is forbidden: ValidatingAdmissionPolicy 'gatekeeper' with binding 'alice' denied request: "#,
            ),
        ] {
            let event = event(
                "pods",
                json!({
                    "requestURI": uri,
                    "responseStatus": {"code": code, "reason": "Forbidden", "message": message, "details": details},
                    "responseObject": {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message, "details": details},
                    "annotations": {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "cluster-admin",
                        "validation.policy.admission.k8s.io/validation_failure": "gatekeeper denied alice"},
                }),
            );
            let told = redacted(&event);
            assert_ne!(told["requestURI"], event["requestURI"]);
            for name in ["responseStatus", "responseObject", "annotations"] {
                assert_eq!(told[name], event[name]);
            }
        }
    }
}

/// What a webhook, a policy or a decoder says may quote the address; who says it stays.
#[test]
fn where_an_address_is_quoted_it_is_masked_and_who_quotes_it_stays() {
    let uri = "/api/v1/namespaces/x/pods/p/exec?command=mysql&command=-phunter2-canary";
    let message = r#"admission webhook "gate" denied the request: -phunter2-canary is used"#;
    let event = event(
        "pods/exec",
        json!({
            "requestURI": uri,
            "responseStatus": {"code": 409, "reason": "Conflict", "message": message},
            "responseObject": {"kind": "Status", "message": message, "details": {"causes": [{"message": "hunter2-canary"}]}},
            "requestObject": {"kind": "PodExecOptions", "command": ["mysql", "-phunter2-canary"], "container": "hunter2-canary"},
            "annotations": {"gate/said": "hunter2-canary"},
        }),
    );
    let told = redacted(&event);
    let masked = r#"admission webhook "gate" denied the request: -p[masked] is used"#;
    assert_eq!(told["responseStatus"]["message"], masked);
    assert_eq!(told["responseObject"]["message"], masked);
    assert_eq!(
        told["responseObject"]["details"]["causes"][0]["message"],
        "[masked]"
    );
    assert_eq!(
        told["requestObject"]["command"],
        json!(["mysql", "-p[masked]"])
    );
    assert_eq!(told["annotations"]["gate/said"], "[masked]");
    let path = "/api/v1/nodes/n/proxy/hook?token=hunter2-canary";
    let options = json!({"kind": "NodeProxyOptions", "path": "hook?token=hunter2-canary"});
    let told = redacted(&crate::rules::event(
        "nodes/proxy",
        json!({"requestURI": path, "requestObject": options}),
    ));
    assert_eq!(told["requestObject"]["path"], "hook?token=[masked]");
}

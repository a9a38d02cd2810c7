#!/usr/bin/env python3
"""Asks the API server's own policy code (oracle.go, see README.md) what it makes of policies and requests.

usage: make.py ORACLE SEED POLICIES REQUESTS_EACH > decisions.jsonl
Each line: a policy, and requests with what decides them. The same seed gives the same lines.
"""
import json
import random
import subprocess
import sys
import tempfile

oracle, seed, policies, requests = sys.argv[1], *map(int, sys.argv[2:5])
chance = random.Random(seed)
USERS = ["alice", "bob", "system:anonymous", "system:kube-proxy", "", "*", "ALICE"]
GROUPS = ["dev", "ops", "system:masters", "system:authenticated", "*", ""]
VERBS = ["get", "list", "watch", "create", "delete", "deletecollection", "*", "", "GET"]
API_GROUPS = ["", "apps", "rbac.authorization.k8s.io", "batch"]
RESOURCES = ["pods", "secrets", "deployments", "nodes", "configmaps", "*", "pod"]
SUBRESOURCES = ["", "exec", "log", "status", "scale", "*", ""]
PATTERNS = ["pods", "secrets", "pods/exec", "pods/log", "pods/*", "*/status", "*/exec", "*", "*/*", "deployments/scale",
            "deployments/*", "configmaps", "nodes/status", "/", "pods/", "*/", "pods/exec/x", "secrets/*", "**"]
NAMESPACES = ["", "default", "kube-system", "prod", "*"]
NAMES = ["", "a", "b", "web", "*"]
URLS = ["/healthz", "/healthz*", "/api*", "*", "/", "/*", "/metrics", "/api/v1/*"]
PATHS = ["/healthz", "/healthz/etcd", "/", "", "/api", "/apis", "/api/v1/pods", "/metrics", "/healthz/*", "*"]
STAGES = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
LEVELS = ["None", "Metadata", "Request", "RequestResponse"]


def maybe(into, key, values, how_often, most=3):
    if chance.random() < how_often:
        into[key] = chance.sample(values, chance.randint(1, most))


def resources():
    one = {}
    if chance.random() < 0.9:
        one["group"] = chance.choice(API_GROUPS)
    maybe(one, "resources", PATTERNS, 0.85)
    if "resources" in one:
        maybe(one, "resourceNames", NAMES, 0.3)
    return one


def rule():
    one = {"level": chance.choice(LEVELS)}
    maybe(one, "users", USERS, 0.25)
    maybe(one, "userGroups", GROUPS, 0.25)
    maybe(one, "verbs", VERBS, 0.4)
    kind = chance.random()
    if kind < 0.6:
        if chance.random() < 0.85:
            one["resources"] = [resources() for _ in range(chance.randint(1, 3))]
        maybe(one, "namespaces", NAMESPACES, 0.4)
    elif kind < 0.85:
        maybe(one, "nonResourceURLs", URLS, 0.9)
    maybe(one, "omitStages", STAGES, 0.3)
    return one


def request():
    one = {"user": chance.choice(USERS), "groups": chance.sample(GROUPS, chance.randint(0, 3)), "verb": chance.choice(VERBS)}
    if chance.random() < 0.7:
        one |= {"isResourceRequest": True, "namespace": chance.choice(NAMESPACES), "resource": chance.choice(RESOURCES),
                "apiGroup": chance.choice(API_GROUPS), "subresource": chance.choice(SUBRESOURCES), "name": chance.choice(NAMES)}
    else:
        one["path"] = chance.choice(PATHS)
    return one


for _ in range(policies):
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [rule() for _ in range(chance.randint(1, 8))]}
    maybe(policy, "omitStages", STAGES, 0.4)
    asked = [request() for _ in range(requests)]
    with tempfile.NamedTemporaryFile("w") as file, tempfile.NamedTemporaryFile("w") as lines:
        json.dump(policy, file)
        lines.writelines(json.dumps(one) + "\n" for one in asked)
        file.flush(), lines.flush()
        answer = subprocess.run([oracle, file.name, lines.name], capture_output=True, text=True, check=True)
    decided = [json.loads(line) for line in answer.stdout.splitlines()]
    print(json.dumps({"policy": policy, "requests": list(zip(asked, decided, strict=True))}, separators=(",", ":")))

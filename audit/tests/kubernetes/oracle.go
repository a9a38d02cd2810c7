// Says what the API server's own policy code makes of a policy and of requests; see README.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

type request struct {
	User, Verb, Namespace, Resource, ApiGroup, Subresource, Name, Path string
	Groups                                                             []string
	IsResourceRequest                                                  bool
}

type decision struct {
	Rule       *int        `json:"rule"`
	Level      audit.Level `json:"level"`
	OmitStages []string    `json:"omitStages"`
}

func main() {
	loaded, err := policy.LoadPolicyFromFile(os.Args[1])
	if err != nil {
		fmt.Println("ERROR", err)
		os.Exit(1)
	}
	if len(os.Args) < 3 {
		return
	}
	// Which rule decides is not told: each is asked alone.
	var alone []policy.Checker
	for _, rule := range loaded.Rules {
		rule.Level = audit.LevelMetadata
		alone = append(alone, policy.NewChecker(&audit.Policy{Rules: []audit.PolicyRule{rule}}))
	}
	all := policy.NewChecker(loaded)
	lines, err := os.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		var asked request
		if err := json.Unmarshal(scanner.Bytes(), &asked); err != nil {
			panic(err)
		}
		attributes := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: asked.User, Groups: asked.Groups}, Verb: asked.Verb,
			Namespace: asked.Namespace, APIGroup: asked.ApiGroup, Resource: asked.Resource,
			Subresource: asked.Subresource, Name: asked.Name, ResourceRequest: asked.IsResourceRequest,
			Path: asked.Path,
		}
		level, omitted := all.LevelAndStages(attributes)
		said := decision{Level: level, OmitStages: []string{}}
		for number, one := range alone {
			if level, _ := one.LevelAndStages(attributes); level != audit.LevelNone {
				said.Rule = &number
				break
			}
		}
		for _, stage := range []audit.Stage{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"} {
			for _, one := range omitted {
				if one == stage {
					said.OmitStages = append(said.OmitStages, string(stage))
					break
				}
			}
		}
		line, err := json.Marshal(said)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}

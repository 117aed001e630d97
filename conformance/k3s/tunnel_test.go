package main

import (
	"encoding/json"
	"testing"
)

func nodeWith(t *testing.T, text string) node {
	t.Helper()
	var parsed node
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// The rows are k3s's cases, one by one.
func TestDecide(t *testing.T) {
	address := `"addresses":[{"type":"InternalIP","address":"10.0.0.5"},{"type":"Hostname","address":"a"}]`
	reports := nodeWith(t, `{"metadata":{"name":"a"},"status":{`+address+`,"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}`)
	silent := nodeWith(t, `{"metadata":{"name":"a"},"status":{`+address+`,"daemonEndpoints":{"kubeletEndpoint":{"Port":0}}}}`)
	labelled := nodeWith(t, `{"metadata":{"name":"a","labels":{"egress.k3s.io/cluster":"true"}},"status":{`+address+`}}`)
	for _, row := range []struct {
		what       string
		node       node
		host, port string
		want       route
	}{
		{"a kubelet that reports its port", reports, "10.0.0.5", "10250", route{"a", true, true}},
		{"one that does not", silent, "10.0.0.5", "10250", route{"a", false, false}},
		{"a pod's port on such a node", reports, "10.0.0.5", "8080", route{"a", false, false}},
		{"a labelled node", labelled, "10.0.0.5", "10250", route{"a", false, true}},
		{"the streaming port", silent, "10.0.0.5", "10010", route{"a", true, true}},
		{"a node by its name", silent, "a", "10250", route{"a", true, true}},
		{"somebody else", silent, "10.0.0.6", "10250", route{}},
	} {
		if got := decide([]node{row.node}, row.host, row.port); got != row.want {
			t.Errorf("%s: %+v, not %+v", row.what, got, row.want)
		}
	}
}

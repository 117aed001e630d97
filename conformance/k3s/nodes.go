package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// tokenID is the first part of a bootstrap token, which names its Secret.
var tokenID = regexp.MustCompile(`^[a-z0-9]{6}$`)

// api is kube-apiserver, as its front proxy calls it.
type api struct {
	url      string
	asProxy  *http.Client
	asNobody http.RoundTripper
}

func newAPI(url, authority, certificate, key string) (*api, error) {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", authority)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	transport := func(pairs ...tls.Certificate) *http.Transport {
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: pairs}}
	}
	return &api{url: url, asProxy: &http.Client{Transport: transport(pair)}, asNobody: transport()}, nil
}

// actAs has kube-apiserver take a request for that user's.
func actAs(header http.Header, who caller) {
	header.Del("Authorization")
	header.Set("X-Remote-User", who.name)
	header.Del("X-Remote-Group")
	for _, group := range append([]string{"system:authenticated"}, who.groups...) {
		header.Add("X-Remote-Group", group)
	}
}

// node is the part of a Node that k3s looks at here.
type node struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		DaemonEndpoints struct {
			KubeletEndpoint struct {
				Port int `json:"Port"`
			} `json:"kubeletEndpoint"`
		} `json:"daemonEndpoints"`
	} `json:"status"`
}

// get reads an object or a list, and says whether there is one.
func (a *api) get(path string, into any) (bool, error) {
	request, err := http.NewRequest(http.MethodGet, a.url+path, nil)
	if err != nil {
		return false, err
	}
	actAs(request.Header, caller{name: "k3s-supervisor", groups: []string{masters}})
	client := http.Client{Transport: a.asProxy.Transport, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return true, json.NewDecoder(response.Body).Decode(into)
	case http.StatusNotFound:
		return false, nil
	default:
		return false, errors.New(response.Status)
	}
}

// nodes lists the Nodes of this moment. k3s watches them; asking when they are needed is the same, but never late.
func (a *api) nodes() ([]node, error) {
	var list struct {
		Items []node `json:"items"`
	}
	_, err := a.get("/api/v1/nodes", &list)
	return list.Items, err
}

// bootstrapToken says who shows a bootstrap token, if there is one in the request (BootstrapTokenAuthenticator, with the one of
// Kubernetes in plugin/pkg/auth/authenticator/token/bootstrap). Of one that is not good k3s says 401.
func (a *api) bootstrapToken(request *http.Request) (*caller, error) {
	token, ok := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, nil
	}
	id, hidden, ok := strings.Cut(token, ".")
	if !ok || !tokenID.MatchString(id) {
		return nil, errNotAuthorized
	}
	var secret struct {
		Type string            `json:"type"`
		Data map[string][]byte `json:"data"`
	}
	found, err := a.get("/api/v1/namespaces/kube-system/secrets/bootstrap-token-"+id, &secret)
	if err != nil {
		return nil, err
	}
	datum := func(name string) string { return string(secret.Data[name]) }
	if !found || secret.Type != "bootstrap.kubernetes.io/token" || datum("token-secret") != hidden ||
		datum("usage-bootstrap-authentication") != "true" {
		return nil, errNotAuthorized
	}
	if end := datum("expiration"); end != "" {
		if end, err := time.Parse(time.RFC3339, end); err != nil || time.Now().After(end) {
			return nil, errNotAuthorized
		}
	}
	groups := append(strings.Split(datum("auth-extra-groups"), ","), bootstrappers)
	return &caller{name: "system:bootstrap:" + id, groups: groups}, nil
}

// refuse answers in the form that all of Kubernetes has for it (pkg/util/apierrors.go, SendError).
func refuse(response http.ResponseWriter, code int, why error) {
	reason := map[int]string{
		http.StatusBadRequest: "BadRequest", http.StatusUnauthorized: "Unauthorized", http.StatusForbidden: "Forbidden",
	}[code]
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(code)
	_ = json.NewEncoder(response).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": why.Error(), "reason": reason, "code": code,
	})
}

// passwords are those by which k3s knows the machines behind names. k3s keeps a hash of each in a Secret that its Node owns: with the
// Node the password goes.
type passwords struct {
	api   *api
	mutex sync.Mutex
	known map[string]password
}

type password struct {
	text string
	// Whether its Node was there: a password without one is kept for ten minutes (pkg/nodepassword/controller.go).
	joined bool
	since  time.Time
}

func newPasswords(api *api) *passwords {
	return &passwords{api: api, known: map[string]password{}}
}

// validate says which node asks, or why it may not (pkg/nodepassword/validate.go, GetNodeAuthValidator).
func (p *passwords) validate(request *http.Request, who caller) (string, int, error) {
	name := strings.ToLower(request.Header.Get("k3s-Node-Name"))
	text := request.Header.Get("k3s-Node-Password")
	if name == "" {
		return "", http.StatusBadRequest, errors.New("node name not set")
	}
	if text == "" {
		return "", http.StatusBadRequest, errors.New("node password not set")
	}
	own, isNode := strings.CutPrefix(who.name, "system:node:")
	if isNode && own != name {
		return "", http.StatusBadRequest, errors.New("header node name does not match auth node name")
	}
	all, err := p.api.nodes()
	if err != nil {
		return "", http.StatusServiceUnavailable, fmt.Errorf("runtime core not ready: %w", err)
	}
	exists := false
	for _, node := range all {
		exists = exists || node.Metadata.Name == name
	}
	if isNode && !exists {
		return "", http.StatusUnauthorized, fmt.Errorf("unable to verify node identity: nodes %q not found", name)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	known, ok := p.known[name]
	if ok && !exists && (known.joined || time.Since(known.since) > 10*time.Minute) {
		ok = false
	}
	if !ok {
		known = password{text: text, since: time.Now()}
	}
	if known.text != text {
		return "", http.StatusForbidden, fmt.Errorf("unable to verify password for node %s: hash does not match", name)
	}
	known.joined = known.joined || exists
	p.known[name] = known
	return name, http.StatusOK, nil
}

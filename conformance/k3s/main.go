// k3s is a model of a k3s server, made from reading k3s and not from running it. It is what stands between nodes, a real
// kube-apiserver and kubelets in k3s, and nothing else of it:
//
//   - /cacerts, /ping, and /v1-k3s with the certificates of nodes, for the cluster's token or a bootstrap token, a node's
//     password or a node's own certificate (pkg/server/handlers, pkg/nodepassword, pkg/server/auth);
//   - the egress proxy (CONNECT) through which kube-apiserver dials, which decides whether a connection takes the tunnel of an
//     agent (pkg/daemons/control/tunnel.go), with the tunnel's server side at /v1-k3s/connect;
//   - everything else is passed on to kube-apiserver, in the name of whom the client's certificate names.
//
// What was read is k3s of 2025 and 2026 (the functions are named beside their models). What it shows of a node holds for k3s as far as
// the reading does.
//
//	k3s --directory DIRECTORY --listen HOST:PORT [--bind HOST] --apiserver URL --apiserver-ca FILE --proxy-certificate FILE --proxy-key FILE
//
// It writes its authorities, the token and the files that kube-apiserver is started with to DIRECTORY, then listens.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "k3s:", err)
		os.Exit(1)
	}
}

func run() error {
	directory := flag.String("directory", "", "where files are written")
	listen := flag.String("listen", "", "the address and port that others call it at")
	bind := flag.String("bind", "", "the address to listen on, where it is another")
	apiserver := flag.String("apiserver", "", "the URL of kube-apiserver")
	apiserverCA := flag.String("apiserver-ca", "", "the authority of its certificate")
	certificate := flag.String("proxy-certificate", "", "the certificate of a front proxy")
	key := flag.String("proxy-key", "", "its key")
	flag.Parse()

	cluster, err := newCluster(*directory, *listen)
	if err != nil {
		return err
	}
	api, err := newAPI(*apiserver, *apiserverCA, *certificate, *key)
	if err != nil {
		return err
	}
	serving, err := cluster.server.sign(servingOf(*listen), cluster.servingKey.Public())
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	clients.AddCert(cluster.client.certificate)
	address := *listen
	if *bind != "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		address = net.JoinHostPort(*bind, port)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           newServer(cluster, api),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{serving.Raw}, PrivateKey: cluster.servingKey}},
			ClientCAs:    clients,
			// Whoever shows no certificate shows a token, or asks for /cacerts.
			ClientAuth: tls.VerifyClientCertIfGiven,
			// Hijacking and tunnels are for HTTP/1.1.
			NextProtos: []string{"http/1.1"},
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	log.Printf("listening on %s", address)
	return server.ServeTLS(listener, "", "")
}

// caller is who a request comes from.
type caller struct {
	name   string
	groups []string
}

func (c caller) is(groups ...string) bool {
	for _, group := range groups {
		for _, own := range c.groups {
			if group == own {
				return true
			}
		}
	}
	return false
}

const (
	agents        = "k3s:agent"
	servers       = "k3s:server"
	nodes         = "system:nodes"
	bootstrappers = "system:bootstrappers"
	masters       = "system:masters"
)

var errNotAuthorized = errors.New("not authorized")

// authenticate says who it is: by a certificate of the client authority, or by the token's secret as a password. Of a wrong password
// k3s says 401, of no credential 403 (pkg/server/auth/auth.go, doAuth).
func (c *cluster) authenticate(request *http.Request) (*caller, error) {
	if request.TLS != nil && len(request.TLS.PeerCertificates) > 0 {
		subject := request.TLS.PeerCertificates[0].Subject
		return &caller{name: subject.CommonName, groups: subject.Organization}, nil
	}
	if user, password, ok := request.BasicAuth(); ok {
		group := map[string]string{"node": agents, "server": servers}[user]
		if group == "" || password != c.secret {
			return nil, errNotAuthorized
		}
		return &caller{name: user, groups: []string{group}}, nil
	}
	return nil, nil
}

// newServer puts the parts together (pkg/server/handlers/router.go, NewHandler).
func newServer(c *cluster, api *api) http.Handler {
	tunnel := newTunnel(api)
	passwords := newPasswords(api)
	// At most so many agents join at once.
	mutating := make(chan struct{}, 10)
	withRole := func(groups []string, next func(http.ResponseWriter, *http.Request, caller)) http.HandlerFunc {
		return func(response http.ResponseWriter, request *http.Request) {
			who, err := c.authenticate(request)
			if who == nil && err == nil {
				who, err = api.bootstrapToken(request)
			}
			switch {
			case err != nil:
				refuse(response, http.StatusUnauthorized, err)
			case who == nil || !who.is(groups...):
				refuse(response, http.StatusForbidden, errors.New("forbidden"))
			default:
				next(response, request, *who)
			}
		}
	}
	signed := func(sign func(*http.Request, string) (certificateRequest, error), by *authority) http.HandlerFunc {
		return withRole([]string{agents, nodes, bootstrappers}, func(response http.ResponseWriter, request *http.Request, who caller) {
			select {
			case mutating <- struct{}{}:
				defer func() { <-mutating }()
			default:
				response.Header().Set("Retry-After", "1")
				http.Error(response, "Too many requests, please try again later.", http.StatusTooManyRequests)
				return
			}
			name, code, err := passwords.validate(request, who)
			if err != nil {
				refuse(response, code, err)
				return
			}
			wanted, err := sign(request, name)
			if err == nil {
				err = c.signAndSend(response, request, by, wanted)
			}
			if err != nil {
				refuse(response, http.StatusInternalServerError, err)
				return
			}
			log.Printf("%s: signed for %s", request.URL.Path, name)
		})
	}
	file := func(pem []byte) http.HandlerFunc {
		return withRole([]string{agents, nodes, bootstrappers}, func(response http.ResponseWriter, _ *http.Request, _ caller) {
			response.Header().Set("Content-Type", "text/plain")
			_, _ = response.Write(pem)
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/cacerts", func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "text/plain")
		_, _ = response.Write(c.server.pem)
	})
	mux.HandleFunc("/ping", func(response http.ResponseWriter, _ *http.Request) { _, _ = response.Write([]byte("pong")) })
	mux.HandleFunc("/v1-k3s/client-kubelet.crt", signed(clientKubelet, c.client))
	mux.HandleFunc("/v1-k3s/serving-kubelet.crt", signed(servingKubelet, c.server))
	mux.HandleFunc("/v1-k3s/client-ca.crt", file(c.client.pem))
	mux.HandleFunc("/v1-k3s/server-ca.crt", file(c.server.pem))
	mux.HandleFunc("/v1-k3s/connect", withRole([]string{nodes}, func(response http.ResponseWriter, request *http.Request, who caller) {
		tunnel.server.ServeHTTP(response, request.WithContext(context.WithValue(request.Context(), callerKey{}, who)))
	}))
	proxy := api.reverseProxy(c)
	mux.Handle("/", proxy)
	connect := withRole([]string{masters}, func(response http.ResponseWriter, request *http.Request, _ caller) {
		tunnel.serveConnect(response, request)
	})
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodConnect {
			connect(response, request)
			return
		}
		mux.ServeHTTP(response, request)
	})
}

// ownVersion has an answer of /version say what k3s's kube-apiserver says, which is built with a suffix to its version (scripts/version.sh).
func ownVersion(response *http.Response) error {
	var version map[string]any
	err := json.NewDecoder(response.Body).Decode(&version)
	if err != nil {
		return err
	}
	version["gitVersion"] = fmt.Sprint(version["gitVersion"], "+k3s1")
	text, err := json.Marshal(version)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(text))
	response.ContentLength = int64(len(text))
	response.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// reverseProxy passes a request on. kube-apiserver believes this front proxy whom the client's certificate names; a token speaks for
// itself.
func (a *api) reverseProxy(c *cluster) http.Handler {
	target, _ := url.Parse(a.url)
	forward := func(transport http.RoundTripper) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{
			Transport:     transport,
			FlushInterval: -1,
			ModifyResponse: func(response *http.Response) error {
				if response.Request.URL.Path != "/version" || response.StatusCode != http.StatusOK {
					return nil
				}
				return ownVersion(response)
			},
			Rewrite: func(request *httputil.ProxyRequest) {
				for name := range request.Out.Header {
					if strings.HasPrefix(name, "X-Remote-") {
						request.Out.Header.Del(name)
					}
				}
				request.SetURL(target)
				if who, _ := c.authenticate(request.In); who != nil {
					actAs(request.Out.Header, *who)
				}
			},
		}
	}
	named, unnamed := forward(a.asProxy.Transport), forward(a.asNobody)
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if who, _ := c.authenticate(request); who != nil {
			named.ServeHTTP(response, request)
		} else {
			unnamed.ServeHTTP(response, request)
		}
	})
}

package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/rancher/remotedialer"
)

// egressLabel on a Node says that its agent takes connections to any of its pods, not to the kubelet alone.
const egressLabel = "egress.k3s.io/cluster"

// streamPort is where an agent's container runtime is streamed from: it is always dialled through the tunnel.
const streamPort = "10010"

type callerKey struct{}

// tunnel decides how kube-apiserver's connections go out (pkg/daemons/control/tunnel.go).
type tunnel struct {
	api    *api
	server *remotedialer.Server
}

func newTunnel(api *api) *tunnel {
	authorize := func(request *http.Request) (string, bool, error) {
		who, _ := request.Context().Value(callerKey{}).(caller)
		name, isNode := strings.CutPrefix(who.name, "system:node:")
		return name, isNode, nil
	}
	return &tunnel{api: api, server: remotedialer.New(authorize, remotedialer.DefaultErrorWriter)}
}

// route is what is decided for one connection.
type route struct {
	node string
	// Whether it is for a kubelet: it is dialled at the loopback address of the agent, and not without a session.
	toKubelet bool
	useTunnel bool
}

// decide is dialBackend's decision in the mode `agent`, k3s's default. The table of k3s has the addresses of Nodes, each with the port
// that the Node reports, as text: for a Node that reports none it is "0", and no port that anybody dials is reserved.
func decide(nodes []node, host, port string) route {
	address := net.ParseIP(host)
	if address == nil {
		return route{node: host, toKubelet: true, useTunnel: true}
	}
	for _, node := range nodes {
		for _, own := range node.Status.Addresses {
			if own.Type != "InternalIP" && own.Type != "ExternalIP" || !address.Equal(net.ParseIP(own.Address)) {
				continue
			}
			reported := strconv.Itoa(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
			if port == reported || port == streamPort {
				return route{node: node.Metadata.Name, toKubelet: true, useTunnel: true}
			}
			_, labelled := node.Metadata.Labels[egressLabel]
			return route{node: node.Metadata.Name, useTunnel: labelled}
		}
	}
	return route{}
}

func (t *tunnel) dial(ctx context.Context, target string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	all, err := t.api.nodes()
	if err != nil {
		return nil, err
	}
	route := decide(all, host, port)
	address := target
	if route.toKubelet {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	if route.useTunnel {
		connection, err := t.server.Dialer(route.node)(ctx, "tcp", address)
		if err == nil {
			log.Printf("CONNECT %s: through the tunnel of %s", target, route.node)
			return connection, nil
		}
		if route.toKubelet && strings.HasPrefix(err.Error(), "failed to find Session for client") {
			log.Printf("CONNECT %s: %v", target, err)
			return nil, err
		}
	}
	log.Printf("CONNECT %s: directly to %s", target, address)
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address)
}

func (t *tunnel) serveConnect(response http.ResponseWriter, request *http.Request) {
	backend, err := t.dial(request.Context(), request.Host)
	if err != nil {
		refuse(response, http.StatusBadGateway, err)
		return
	}
	defer backend.Close()
	hijacker, ok := response.(http.Hijacker)
	if !ok {
		refuse(response, http.StatusInternalServerError, fmt.Errorf("hijacking not supported"))
		return
	}
	response.WriteHeader(http.StatusOK)
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if err := buffered.Flush(); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(backend, buffered)
		done <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(client, backend)
		done <- struct{}{}
	}()
	<-done
}

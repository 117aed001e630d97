// A TLS client and server with Go's own TLS, the one that kube-apiserver has. It needs the standard library only.
module picolet.dev/controlplane/tlspeer

go 1.26.0

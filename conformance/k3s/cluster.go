package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// authority signs certificates. k3s has one for servers and another one for clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// cluster is what a k3s server knows of itself.
type cluster struct {
	server, client *authority
	servingKey     *ecdsa.PrivateKey
	// The password of agents: what follows the user in the token.
	secret string
}

// certificateRequest is what a certificate will say; the key is the asker's.
type certificateRequest struct {
	subject   pkix.Name
	usage     x509.ExtKeyUsage
	dnsNames  []string
	addresses []net.IP
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newAuthority(what string) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	number, err := serial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          number,
		Subject:               pkix.Name{CommonName: fmt.Sprintf("k3s-%s-ca@%d", what, now.Unix())},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate: certificate, key: key, pem: encodePEM("CERTIFICATE", der)}, err
}

func (a *authority) sign(wanted certificateRequest, key crypto.PublicKey) (*x509.Certificate, error) {
	number, err := serial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: number,
		Subject:      wanted.subject,
		DNSNames:     wanted.dnsNames,
		IPAddresses:  wanted.addresses,
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{wanted.usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// servingOf names the server itself. An emulated board calls this machine 10.0.2.2.
func servingOf(listen string) certificateRequest {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 2, 2)}
	if host, _, err := net.SplitHostPort(listen); err == nil && net.ParseIP(host) != nil {
		addresses = append(addresses, net.ParseIP(host))
	}
	return certificateRequest{
		subject:   pkix.Name{CommonName: "k3s", Organization: []string{"k3s"}},
		usage:     x509.ExtKeyUsageServerAuth,
		dnsNames:  []string{"localhost", "kubernetes"},
		addresses: addresses,
	}
}

// newCluster makes a cluster, and writes what others need of it. The token is as k3s writes it: with the hash of the server
// authority's PEM, and with the user `server`, in place of whom agents say `node`.
func newCluster(directory, listen string) (*cluster, error) {
	var c cluster
	var err error
	if c.server, err = newAuthority("server"); err != nil {
		return nil, err
	}
	if c.client, err = newAuthority("client"); err != nil {
		return nil, err
	}
	if c.servingKey, err = newKey(); err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	if _, err = rand.Read(secret); err != nil {
		return nil, err
	}
	c.secret = hex.EncodeToString(secret)
	apiserver, apiserverKey, err := c.master("system:apiserver")
	if err != nil {
		return nil, err
	}
	admin, err := c.kubeconfig(listen)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(c.server.pem)
	path := func(name string) string { return filepath.Join(directory, name) }
	// As pkg/daemons/control/server.go, genEgressSelectorConfig.
	egress := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: https://%s
        tlsConfig:
          caBundle: %s
          clientCert: %s
          clientKey: %s
`, listen, path("server-ca.crt"), path("client-kube-apiserver.crt"), path("client-kube-apiserver.key"))
	files := map[string][]byte{
		"server-ca.crt":             c.server.pem,
		"client-ca.crt":             c.client.pem,
		"client-kube-apiserver.crt": apiserver,
		"client-kube-apiserver.key": apiserverKey,
		"egress-selector.yaml":      []byte(egress),
		"k3s.yaml":                  admin,
		"token":                     []byte("K10" + hex.EncodeToString(hash[:]) + "::server:" + c.secret + "\n"),
	}
	for name, content := range files {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// master makes a client that may do anything: its certificate and its key, PEM.
func (c *cluster) master(name string) (certificate, key []byte, err error) {
	private, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	signed, err := c.client.sign(certificateRequest{
		subject: pkix.Name{CommonName: name, Organization: []string{masters}},
		usage:   x509.ExtKeyUsageClientAuth,
	}, private.Public())
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return encodePEM("CERTIFICATE", signed.Raw), encodePEM("PRIVATE KEY", der), nil
}

// kubeconfig is the administrator's, as a server of k3s writes it.
func (c *cluster) kubeconfig(listen string) ([]byte, error) {
	certificate, key, err := c.master("system:admin")
	if err != nil {
		return nil, err
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: https://%s
    certificate-authority-data: %s
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
`, listen, encode(c.server.pem), encode(certificate), encode(key)), nil
}

// clientKubelet and servingKubelet say what a node's certificates will say (handlers.go, ClientKubeletCert and ServingKubeletCert).
// Of the node's own request only the key counts.
func clientKubelet(_ *http.Request, node string) (certificateRequest, error) {
	return certificateRequest{
		subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{nodes}},
		usage:   x509.ExtKeyUsageClientAuth,
	}, nil
}

func servingKubelet(request *http.Request, node string) (certificateRequest, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1)}
	if list := request.Header.Get("k3s-Node-IP"); list != "" {
		for _, text := range strings.Split(list, ",") {
			address := net.ParseIP(text)
			if address == nil {
				return certificateRequest{}, fmt.Errorf("invalid node IP address %s", address)
			}
			addresses = append(addresses, address)
		}
	}
	return certificateRequest{
		subject:   pkix.Name{CommonName: node},
		usage:     x509.ExtKeyUsageServerAuth,
		dnsNames:  []string{node, "localhost"},
		addresses: addresses,
	}, nil
}

// signAndSend answers with the certificate and its authority. Who sends no request in DER would get a key that all such nodes share
// (handlers.go, signAndSend): here that is an error, since no picolet may want it.
func (c *cluster) signAndSend(response http.ResponseWriter, request *http.Request, by *authority, wanted certificateRequest) error {
	if request.Method != http.MethodPost {
		return errors.New("no request in the body of a POST")
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<16))
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(body)
	if err != nil {
		return fmt.Errorf("the body is no certificate request in DER: %w", err)
	}
	certificate, err := by.sign(wanted, csr.PublicKey)
	if err != nil {
		return err
	}
	_, err = response.Write(append(encodePEM("CERTIFICATE", certificate.Raw), by.pem...))
	return err
}

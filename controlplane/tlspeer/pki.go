package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

const (
	hour = time.Hour
	day  = 24 * hour
)

// writePKI writes NAME.crt and NAME.key for each kind of certificate: those that must be accepted, and those that have
// one thing wrong.
func writePKI(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	own, err := newAuthority(directory, "ca", 0)
	if err != nil {
		return err
	}
	other, err := newAuthority(directory, "other-ca", 0)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name     string
		signer   authority
		dns      string
		from, to time.Duration
		usage    x509.ExtKeyUsage
	}{
		{"server", own, "localhost", -hour, day, x509.ExtKeyUsageServerAuth},
		{"server-wrong-name", own, "elsewhere", -hour, day, x509.ExtKeyUsageServerAuth},
		{"server-wrong-authority", other, "localhost", -hour, day, x509.ExtKeyUsageServerAuth},
		{"server-expired", own, "localhost", -day, -hour, x509.ExtKeyUsageServerAuth},
		{"server-not-yet-valid", own, "localhost", hour, day, x509.ExtKeyUsageServerAuth},
		{"server-wrong-usage", own, "localhost", -hour, day, x509.ExtKeyUsageClientAuth},
		{"client", own, "", -hour, day, x509.ExtKeyUsageClientAuth},
		{"client-wrong-authority", other, "", -hour, day, x509.ExtKeyUsageClientAuth},
		{"client-expired", own, "", -day, -hour, x509.ExtKeyUsageClientAuth},
		{"client-wrong-usage", own, "", -hour, day, x509.ExtKeyUsageServerAuth},
	} {
		template := leaf(kind.name, kind.dns, kind.from, kind.to, kind.usage)
		if err := kind.signer.issue(directory, kind.name, template, 0); err != nil {
			return err
		}
	}
	for name, bits := range map[string]int{"rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096} {
		signer, err := newAuthority(directory, name+"-ca", bits)
		if err != nil {
			return err
		}
		template := leaf(name+"-server", "localhost", -hour, day, x509.ExtKeyUsageServerAuth)
		if err := signer.issue(directory, name+"-server", template, bits); err != nil {
			return err
		}
	}
	// A leaf that signs a server: it is no authority, and what it signs is worth nothing.
	middle, err := generate(0)
	if err != nil {
		return err
	}
	template := leaf("not-an-authority", "localhost", -hour, day, x509.ExtKeyUsageServerAuth)
	der, err := x509.CreateCertificate(rand.Reader, template, own.certificate, middle.Public(), own.key)
	if err != nil {
		return err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	forger := authority{certificate, middle}
	forged := leaf("server-signed-by-leaf", "localhost", -hour, day, x509.ExtKeyUsageServerAuth)
	if err := forger.issue(directory, "server-signed-by-leaf", forged, 0); err != nil {
		return err
	}
	return appendPEM(filepath.Join(directory, "server-signed-by-leaf.crt"), "CERTIFICATE", der)
}

func newAuthority(directory, name string, bits int) (authority, error) {
	key, err := generate(bits)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-hour), NotAfter: time.Now().Add(day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{certificate, key}, write(directory, name, der, key)
}

func leaf(name, dns string, from, to time.Duration, usage x509.ExtKeyUsage) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
	}
	if dns != "" {
		template.DNSNames = []string{dns}
	}
	if dns == "localhost" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return template
}

func (signer authority) issue(directory, name string, template *x509.Certificate, bits int) error {
	key, err := generate(bits)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, key.Public(), signer.key)
	if err != nil {
		return err
	}
	return write(directory, name, der, key)
}

// generate makes an RSA key of so many bits, or a P-256 key for 0.
func generate(bits int) (crypto.Signer, error) {
	if bits == 0 {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	return number
}

func write(directory, name string, certificate []byte, key crypto.Signer) error {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if err := os.WriteFile(filepath.Join(directory, name+".key"), text, 0o600); err != nil {
		return err
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	return os.WriteFile(filepath.Join(directory, name+".crt"), text, 0o644)
}

func appendPEM(path, kind string, der []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return pem.Encode(file, &pem.Block{Type: kind, Bytes: der})
}

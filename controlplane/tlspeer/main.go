// tlspeer is the other side in tests of our TLS: a client and a server with Go's crypto/tls, told to behave in one given
// way, and an authority that signs the certificates which must be refused.
//
//	tlspeer pki DIRECTORY        writes every certificate that the tests need
//	tlspeer serve FLAGS          listens on loopback, prints its address, then one line for each connection
//	tlspeer dial FLAGS ADDRESS   connects once and prints one line
//
// A line is "ok" and what was agreed on, or "failed" and why. A connection that came about is echoed by the server; the
// client sends its standard input and prints what returns.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const patience = 10 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlspeer:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return fmt.Errorf("usage: tlspeer pki DIRECTORY | serve FLAGS | dial FLAGS ADDRESS")
	}
	switch arguments[0] {
	case "pki":
		return writePKI(arguments[1])
	case "serve":
		configuration, _, err := parse(arguments)
		if err != nil {
			return err
		}
		return serve(configuration)
	case "dial":
		configuration, rest, err := parse(arguments)
		if err != nil {
			return err
		}
		if len(rest) != 1 {
			return fmt.Errorf("dial needs one address")
		}
		return dial(configuration, rest[0])
	}
	return fmt.Errorf("unknown command %q", arguments[0])
}

// parse turns flags into a TLS configuration and returns the arguments after them.
func parse(arguments []string) (*tls.Config, []string, error) {
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	certificate := flags.String("certificate", "", "certificate chain to present, PEM")
	key := flags.String("key", "", "its private key, PEM")
	authority := flags.String("authority", "", "certificate authority of the other side, PEM; a server then requires a certificate")
	name := flags.String("name", "", "name that the server's certificate must have")
	version := flags.String("max-version", "1.3", "highest version of TLS: 1.2 or 1.3")
	curves := flags.String("curves", "", "key exchange groups in the order of preference, separated by commas")
	if err := flags.Parse(arguments[1:]); err != nil {
		return nil, nil, err
	}
	configuration := &tls.Config{ServerName: *name}
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		if err != nil {
			return nil, nil, err
		}
		// Presented whatever the other side asks for: that it is refused there is what is tested.
		configuration.Certificates = []tls.Certificate{pair}
		if arguments[0] == "dial" {
			configuration.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
	}
	if *authority != "" {
		text, err := os.ReadFile(*authority)
		if err != nil {
			return nil, nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, nil, fmt.Errorf("%s holds no certificate", *authority)
		}
		configuration.RootCAs, configuration.ClientCAs = pool, pool
		configuration.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if *version == "1.2" {
		configuration.MaxVersion = tls.VersionTLS12
	}
	for _, word := range strings.FieldsFunc(*curves, func(r rune) bool { return r == ',' }) {
		curve, known := map[string]tls.CurveID{
			"x25519": tls.X25519, "p256": tls.CurveP256, "p384": tls.CurveP384, "x25519mlkem768": tls.X25519MLKEM768,
		}[word]
		if !known {
			return nil, nil, fmt.Errorf("unknown group %q", word)
		}
		configuration.CurvePreferences = append(configuration.CurvePreferences, curve)
	}
	return configuration, flags.Args(), nil
}

func serve(configuration *tls.Config) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			connection.SetDeadline(time.Now().Add(patience))
			session := tls.Server(connection, configuration)
			if err := session.Handshake(); err != nil {
				fmt.Println("failed", err)
				return
			}
			fmt.Println(describe(session))
			io.Copy(session, session)
			session.CloseWrite()
		}()
	}
}

func dial(configuration *tls.Config, address string) error {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	session := tls.Client(connection, configuration)
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// A TLS 1.3 server refuses the client's certificate after the client's handshake has ended: only an answer counts.
	answer, err := exchange(session, message)
	if err != nil {
		fmt.Println("failed", err)
		return nil
	}
	fmt.Println(describe(session))
	_, err = os.Stdout.Write(answer)
	return err
}

func exchange(session *tls.Conn, message []byte) ([]byte, error) {
	if err := session.Handshake(); err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() {
		_, err := session.Write(message)
		failed <- err
	}()
	answer := make([]byte, len(message))
	if _, err := io.ReadFull(session, answer); err != nil {
		return nil, err
	}
	if err := <-failed; err != nil {
		return nil, err
	}
	if !bytes.Equal(answer, message) {
		return nil, fmt.Errorf("the echo differs from what was sent")
	}
	return answer, nil
}

func describe(session *tls.Conn) string {
	state := session.ConnectionState()
	peer := "none"
	if len(state.PeerCertificates) > 0 {
		peer = state.PeerCertificates[0].Subject.CommonName
	}
	return fmt.Sprintf("ok version=%s cipher=%s group=%s retried=%t resumed=%t peer=%s", tls.VersionName(state.Version),
		tls.CipherSuiteName(state.CipherSuite), state.CurveID, state.HelloRetryRequest, state.DidResume, peer)
}

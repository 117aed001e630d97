// Prints test vectors of github.com/distribution/reference, for crates/images/tests/data/references.tsv:
// input, name, tag and digest, or input and error, with tabs between them.
package main

import (
	"crypto"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"math/rand"
	"strings"

	"github.com/distribution/reference"
)

var _ = crypto.SHA256

func main() {
	hex := "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"
	seeds := []string{
		"busybox", "busybox:1.36", "library/busybox", "docker.io/busybox", "index.docker.io/busybox", "index.docker.io/a/b:c",
		"ghcr.io/picolet/firmware:0.2.0", "localhost/app", "localhost:5000/app:v1", "10.0.0.5:5000/a/b/c:latest", "[::1]:5000/app",
		"[2001:db8::1]/app:tag", "[fe80::1%eth0]/app", "Example.com/app", "UPPER/app", "app/Upper", "Busybox", "busybox:Tag", "a_b.c/d", "A_b.c/d",
		"registry.k8s.io/pause:3.10@sha256:" + hex, "busybox@sha256:" + hex, "busybox@sha256:" + hex[:62], "busybox@sha512:" + hex + hex,
		"busybox@sha384:" + hex + hex[:32], "busybox@md5:" + hex[:32], "busybox@sha256+b64u:" + hex, "busybox@SHA256:" + hex, "busybox@sha256:" + strings.ToUpper(hex),
		"busybox@Sha999:" + hex, hex, hex[:63], hex + "0", "sha256:" + hex, "", "/", "a/", "/a", "a//b", ":tag", "a:", "a@", "@sha256:" + hex, "a:tag@", "a:b:c", "a:b/c",
		"a.b:80/c", "a.b:/c", "a.b:x/c", "a..b/c", "-a.b/c", "a-.b/c", "a.-b/c", "a--b", "a__b", "a___b", "a._b", "a.b", "a..b", "a-", "-a", "_a", "a_", "a:.b", "a:-b", "a:_b",
		"a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), strings.Repeat("a", 247), strings.Repeat("a", 248), "x.y/" + strings.Repeat("a", 255), "x.y/" + strings.Repeat("a", 256),
		"a b", " a", "a ", "http://a/b", "https://a.b/c:d", "a.b/c/d_e-f.g:h@sha256:" + hex, "docker.io/library/a", "docker.io/", "docker.io", "localhost", "LOCALHOST/a", "xn--n3h.com/a",
		"a.b/C", "a.b/c:D@sha256:" + hex, "a.b/c@D", "a.b/c@D:e", "[]/a", "[g]/a", "[::1/a", "::1]/a", "[::1]x/a", "[::1]:/a",
	}
	random := rand.New(rand.NewSource(1))
	inputs := append([]string{}, seeds...)
	alphabet := "aZ0._-:/@[]"
	for len(inputs) < 1500 {
		text := []byte(seeds[random.Intn(len(seeds))])
		for n := random.Intn(3) + 1; n > 0; n-- {
			c := alphabet[random.Intn(len(alphabet))]
			switch at := random.Intn(len(text) + 1); {
			case at == len(text) || random.Intn(3) == 0:
				text = append(text[:at], append([]byte{c}, text[at:]...)...)
			case random.Intn(2) == 0:
				text[at] = c
			default:
				text = append(text[:at], text[at+1:]...)
			}
		}
		inputs = append(inputs, string(text))
	}
	seen := map[string]bool{}
	for _, input := range inputs {
		if seen[input] {
			continue
		}
		seen[input] = true
		named, err := reference.ParseNormalizedNamed(input)
		if err != nil {
			fmt.Printf("%s\t%s\n", input, err)
			continue
		}
		tag, digest := "", ""
		if tagged, ok := named.(reference.Tagged); ok {
			tag = tagged.Tag()
		}
		if digested, ok := named.(reference.Digested); ok {
			digest = digested.Digest().String()
		}
		// As the kubelet's parsers.ParseImageName.
		if tag == "" && digest == "" {
			tag = "latest"
		}
		fmt.Printf("%s\t%s\t%s\t%s\n", input, named.Name(), tag, digest)
	}
}

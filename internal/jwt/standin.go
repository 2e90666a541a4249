package jwt

import "sync"

// standIns are keys whose private halves were never kept, one for each
// algorithm. They are constants, so that a restart does not make new ones.
var standIns = sync.OnceValue(func() map[Alg]Key {
	m := make(map[Alg]Key)
	for alg, text := range map[Alg]string{
		RS256: standInRSA, RS384: standInRSA, PS256: standInRSA, ES256: standInP256, EdDSA: standInEd25519,
	} {
		k, err := ParsePublicKey([]byte(text), alg)
		if err != nil {
			panic("jwt: stand-in key: " + err.Error()) // a constant of this file is broken
		}
		m[alg] = k
	}
	return m
})

const standInRSA = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxaqiOExy3e+Gkd4zmulb
AxB6s0uBwSPUW9Em7vI2LZGnS1ouhsXj2ak3N3es3a8on3Coeud0avQjVInvUUH1
FVFGcwCKUFTsk8230p1CTAci+srsO5pzGrQtBd7YW8jGeYp5q4ril7qeDxRo6+fT
ZlzKETrBVHrBUB4aKHKuVltg9zVA9Q5ZA+I+Dan0L3x440PUKDciI3Opsj80skSU
OSSJ0iDdXYYlmkj/hLElzFfdrP1PhcUdlSdpDilaIErriXA2LsLQbCTuLFEzYb5z
GerNBY66n3dw4RLhseY2LVflcUcvf47BlqSFIpHvwNZxlVOONKaBGBUKEMnEOs3e
kwIDAQAB
-----END PUBLIC KEY-----`

const standInP256 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELQOJjRf8Q8k5YBKGV9uGJqpXhb/3
EDjxH65XIJWhQ3FksiW+vRdodV6R706d5ytst9cyxEpGUQuvqdi/CtlGtQ==
-----END PUBLIC KEY-----`

const standInEd25519 = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAl8KZtH/kqrYnzrFTTckcMrIHap97UsFPc8sxvX1XnJU=
-----END PUBLIC KEY-----`

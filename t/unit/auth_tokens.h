/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Keys and tokens of the tests of modules/auth, made with PyJWT; the time is NOW. */

#define NOW    1900000000
#define SECRET "a-secret-of-thirty-two-bytes-or-more!"
/* clang-format off */
#define RSA_PEM \
	"-----BEGIN PUBLIC KEY-----\n" \
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA32BmHM8FSfOvWFsALujx\n" \
	"8nyp9RW88URwDwAiPBIXStHYTunjHBX4BAYtFhufIJQ8INWN7wTAuhS9vlW63i2P\n" \
	"PQnzkJ1/0crxqXJkzFxzwvQgnAS1Q6gA3/klT9MCxlC3Fitbs2E4Z3DACQ1AKOo6\n" \
	"97Kg5jdpoFM1wBMwRTXJNR9xH1b+Ix+YiuEjRAWuyFBRZBIcsinDNXdpStFoPgf8\n" \
	"lnTQoKczLOaPorYHgY1ki2vkLXQZrgQ5T2Y+Ut47PCa3ywCAKTKi3+7sGkcR+Kcn\n" \
	"Fd7VRp7g0uabZBYyxmtUBBH/7i8Calnhs6Fhq+2gt7NRHLkTpxRQNjM1kmllnhXH\n" \
	"OwIDAQAB\n" \
	"-----END PUBLIC KEY-----\n"
#define RSA_SHORT_PEM \
	"-----BEGIN PUBLIC KEY-----\n" \
	"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCcSL8uK8seTXohkYo5ae6stTDg\n" \
	"ykdeYhKaKVaQE40+H0msdxvrkADdiIOKBQHOz49V/xRVwt2pDjBUnCrjxKEopWXV\n" \
	"+B7vJOOtOJ/2oqD2HMCoPjx4Wc/iYcQWdLsKkURCgcxoZdFlA+Hq8CGUyReZiALw\n" \
	"3Tm6TpGUi72PmSsAdQIDAQAB\n" \
	"-----END PUBLIC KEY-----\n"
#define EC_PEM \
	"-----BEGIN PUBLIC KEY-----\n" \
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7CgyXQfr5enKQDFDog9Llz1saiRC\n" \
	"RPUFjio38dNFgnK14pm3WqwA/cNXgiXDQNJ7eIS1fUUV6EzDM/vaQOAeMg==\n" \
	"-----END PUBLIC KEY-----\n"

static const struct {
	const char *why;
	enum verdict verdict;
	const char *token;
} web_rows[] = {
	{"a good one", TOKEN_GOOD,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt"
	 "2h8gtWbsz16DxuAH1Yg30t5vmJF8Y"},
	{"with RSA", TOKEN_GOOD,
	 "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.ojY701sjNh0vnE"
	 "L1HBY02zKnh69bgboGk8MEsDavtg5FsjiWSXRhqVzFiy6DeTqROFYEegfbFuWlYR0Pv43QdJRtWhe1"
	 "hc6O6FZgEzNN0UWnO4Gg0F1xGz6MtTsY5IJWevSdhiUbQW19ZUlUBBqZqrpl0tt_3xp4idD9EB3V4c"
	 "VFagBty3epjlyYOb1K-d4iVUwLzTP8yNaDpV65lzZiH3ama0he11aexcqFctIUaIvSHC-Vvs53ZV9n"
	 "e1EE_hjP0yk3dxP378MZVoic4ixCj8bmGe172yDj_xMum4TSVh6mCH1pso_hXz29LXjyg2YhrcpfuM"
	 "p_5wXHRWp0CCCYhw"},
	{"with an elliptic curve", TOKEN_GOOD,
	 "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.6C7eVcq1GIHchP"
	 "caXyFQtlTDJt-lZ6dOpD-FGRkT5schsOvhmmygGZptG0aU7cUA77udNmGvDne2MHWj9SPJlA"},
	{"several audiences", TOKEN_GOOD,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOlsid2ViIiwiZ2FtZSJdLCJyb2xlIjoiZ20iLCJsZXZlbCI6N30.712"
	 "Wsg05xWiSVebIFnLZd8LRBqC0g0GQobjZyrWV8L4"},
	{"the key's id", TOKEN_GOOD,
	 "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4iLCJleHAiOj"
	 "E5MDAwMDAwNjAsImlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9"
	 ".QI__0aigM_GUg7PsJxO5UbsaeaVZTVO8Vr5DAywWkWg"},
	{"an id that no key has", TOKEN_SIGNATURE,
	 "eyJhbGciOiJIUzI1NiIsImtpZCI6Ims5IiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4iLCJleHAiOj"
	 "E5MDAwMDAwNjAsImlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9"
	 ".yeg1h6fdvhikDFm4ddcGlqz5flq2RhAo3E-ib0gMR-k"},
	{"another secret", TOKEN_SIGNATURE,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.Ihlrr8HE2kjiT8"
	 "PpSt8RMe-TU5jw0jGC3MNaC3o3iHs"},
	{"a changed payload", TOKEN_SIGNATURE,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib2IiLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt"
	 "2h8gtWbsz16DxuAH1Yg30t5vmJF8Y"},
	{"no signature", TOKEN_SIGNATURE,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9."},
	{"alg none", TOKEN_ALGORITHM,
	 "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsIm"
	 "lzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9."},
	{"alg None, signed", TOKEN_ALGORITHM,
	 "eyJhbGciOiAiTm9uZSIsICJ0eXAiOiAiSldUIn0.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwMD"
	 "AwNjAsICJpc3MiOiAic2hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjog"
	 "N30.MkiPHEcY2T0hCOjG0YtzfNfDyuqQQZMcu8bzrHwk6y4"},
	{"alg nOnE with a signature", TOKEN_ALGORITHM,
	 "eyJhbGciOiAibk9uRSJ9.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwMDAwNjAsICJpc3MiOiAic"
	 "2hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjogN30.IIobxoskwAt1YtE"
	 "EuAlU1sIB05uj-RnShj1qeVU4HcI"},
	{"an algorithm without a key", TOKEN_ALGORITHM,
	 "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.0mH_7OFZPDhcO_"
	 "fknWOAiaSrD7PXMuxsCFGeceBGwLBjkatf9tavfYw4yQdzEDBRDmjkn3yyzTk6n6gw2lTtEQ"},
	{"the RSA public key as a secret", TOKEN_SIGNATURE,
	 "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwM"
	 "DAwNjAsICJpc3MiOiAic2hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjo"
	 "gN30.Qnug2xaa8V3adoUCa4v4j1P2Oi5m7iHH5BVcaSj-wyE"},
	{"an HMAC that says RS256", TOKEN_SIGNATURE,
	 "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwM"
	 "DAwNjAsICJpc3MiOiAic2hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjo"
	 "gN30.earg5VumS83apo-dxSamwDcFSXmZq_eNXNk2MwDVQGo"},
	{"no alg", TOKEN_ALGORITHM,
	 "eyJ0eXAiOiAiSldUIn0.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwMDAwNjAsICJpc3MiOiAic2"
	 "hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjogN30.RBC6rbEi21NuP09r"
	 "uPKBTu6pm9ueQx6SQoc1-oXLWy8"},
	{"alg a number", TOKEN_ALGORITHM,
	 "eyJhbGciOiA1fQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwMDAwNjAsICJpc3MiOiAic2hvcCI"
	 "sICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmVsIjogN30.DSysINJWpaClJECFFQRZy"
	 "31lZ0iSiOScQHDsweU-5Oo"},
	{"crit", TOKEN_MALFORMED,
	 "eyJhbGciOiAiSFMyNTYiLCAiY3JpdCI6IFsiZXhwIl19.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5M"
	 "DAwMDAwNjAsICJpc3MiOiAic2hvcCIsICJhdWQiOiAiZ2FtZSIsICJyb2xlIjogImdtIiwgImxldmV"
	 "sIjogN30.yKQ5-n1QqOMBplpXH_JYpXHuxsoXcZV6vfAoCDfsY_E"},
	{"two algs", TOKEN_MALFORMED,
	 "eyJhbGciOiJIUzI1NiIsImFsZyI6Im5vbmUifQ.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjA"
	 "sImlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JK"
	 "dt2h8gtWbsz16DxuAH1Yg30t5vmJF8Y"},
	{"expired", TOKEN_EXPIRED,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE4OTk5OTk5NjksI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.RJdY9bTzPMBPh_"
	 "2r8QNQ4994VNGHjRGz8Zok_ueY-d0"},
	{"expired within the skew", TOKEN_GOOD,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE4OTk5OTk5NzEsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.EV7w-JZ6v7mNZN"
	 "3ZmQVkTbPrKwqQhMnFP_DLenUOz80"},
	{"no exp", TOKEN_CLAIM,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJzaG9wIiwiYXVkI"
	 "joiZ2FtZSIsInJvbGUiOiJnbSIsImxldmVsIjo3fQ.dDSzCS-m4fAMvqC96uJx_3LlwJAaP_PulaFe"
	 "aVEDV_g"},
	{"exp a text", TOKEN_CLAIM,
	 "eyJhbGciOiAiSFMyNTYifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6ICIyMDQwIiwgImlzcyI6ICJzaG9"
	 "wIiwgImF1ZCI6ICJnYW1lIiwgInJvbGUiOiAiZ20iLCAibGV2ZWwiOiA3fQ.NCP8pgBhfm9UvPEimh"
	 "Q2c2gVB8Z_khKOC72a5_SKTm4"},
	{"exp far beyond", TOKEN_CLAIM,
	 "eyJhbGciOiAiSFMyNTYifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDFlKzMwMCwgImlzcyI6ICJzaG9"
	 "wIiwgImF1ZCI6ICJnYW1lIiwgInJvbGUiOiAiZ20iLCAibGV2ZWwiOiA3fQ.ceNYDzg5MbugKlyj0n"
	 "YHyzI5hP7R1Sj5tfsp-Ak6CAg"},
	{"not yet", TOKEN_NOT_YET,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjcsIm5iZiI6MTkwMDA"
	 "wMDAzMX0.R232WajkgjshrXkyFhibJ-teN4RZxyIZxrIp0r0DEGA"},
	{"nearly yet", TOKEN_GOOD,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjcsIm5iZiI6MTkwMDA"
	 "wMDAyOX0.tVqhE0764ViDZ7oxmk-K1E9cDUt2L3osNjrqe95Px0o"},
	{"made in the future", TOKEN_NOT_YET,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjcsImlhdCI6MTkwMDA"
	 "wMDAzMX0.HEkNQzGWuuJ9hekL1SyXcMasl3DCcm-xGBR8bvEarLs"},
	{"another issuer", TOKEN_ISSUER,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AyIiwiYXVkIjoiZ2FtZSIsInJvbGUiOiJnbSIsImxldmVsIjo3fQ.O2QHrrXd5Jr4"
	 "SLypAqm1O0ZzxPrQTasbA_WbppTCuak"},
	{"no issuer", TOKEN_ISSUER,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mF1ZCI6ImdhbWUiLCJyb2xlIjoiZ20iLCJsZXZlbCI6N30.bs3cifDhrSExYv1kA_ktiPHzDgpI2fZ"
	 "cPjqygOY8-MM"},
	{"another audience", TOKEN_AUDIENCE,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJ3ZWIiLCJyb2xlIjoiZ20iLCJsZXZlbCI6N30._z8TJUjE6wTd-2k"
	 "Ns4_MKfeGE-9_1-h5DwQIcNlwD9w"},
	{"no audience", TOKEN_AUDIENCE,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJyb2xlIjoiZ20iLCJsZXZlbCI6N30.QcddmNhqAB97eCK-g4t0nY-3A3efl8m"
	 "36y69eAAwcMY"},
	{"an audience that is an object", TOKEN_AUDIENCE,
	 "eyJhbGciOiAiSFMyNTYifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDE5MDAwMDAwNjAsICJpc3MiOiA"
	 "ic2hvcCIsICJhdWQiOiB7ImdhbWUiOiAxfSwgInJvbGUiOiAiZ20iLCAibGV2ZWwiOiA3fQ.uVLZFp"
	 "pEv_LGeq9Wqrv4z3knM05Y3_rs4C1ZNr2t690"},
	{"no user", TOKEN_CLAIM,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE5MDAwMDAwNjAsImlzcyI6InNob3AiL"
	 "CJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.XXkH5-a650idJ_yUfjfsc-QhQNYs2R"
	 "5uz3bHxRyGkM8"},
	{"an empty user", TOKEN_CLAIM,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIiLCJleHAiOjE5MDAwMDAwNjAsImlzc"
	 "yI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.DvgEFAjxJFYrXwN4ru"
	 "C-rsxRAbhtyfFqtYxC-iypJhM"},
	{"a user with a control character", TOKEN_CLAIM,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhXG5iIiwiZXhwIjoxOTAwMDAwMDYwL"
	 "CJpc3MiOiJzaG9wIiwiYXVkIjoiZ2FtZSIsInJvbGUiOiJnbSIsImxldmVsIjo3fQ.ObvUNWLirSnC"
	 "NMAQZ04ucGqLr4Fyz42vIbEUX_Aa6c8"},
	{"a user that is a number", TOKEN_CLAIM,
	 "eyJhbGciOiAiSFMyNTYifQ.eyJzdWIiOiA1LCAiZXhwIjogMTkwMDAwMDA2MCwgImlzcyI6ICJzaG9"
	 "wIiwgImF1ZCI6ICJnYW1lIiwgInJvbGUiOiAiZ20iLCAibGV2ZWwiOiA3fQ.6ctmNT4M6sccFsoa3o"
	 "VLbFiVvQFbzeNGhi65IddQXnI"},
	{"a payload that is a list", TOKEN_MALFORMED,
	 "eyJhbGciOiAiSFMyNTYifQ.WzFd.Mbd1uY7Oi21QxTQr-rADaDfvu0FNGffmONIHm9Memdo"},
	{"nothing", TOKEN_MALFORMED,
	 ""},
	{"no dots", TOKEN_MALFORMED,
	 "abc"},
	{"one dot", TOKEN_MALFORMED,
	 "abc.def"},
	{"three dots", TOKEN_MALFORMED,
	 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsI"
	 "mlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt"
	 "2h8gtWbsz16DxuAH1Yg30t5vmJF8Y.x"},
	{"dots alone", TOKEN_MALFORMED,
	 ".."},
	{"a header that is none", TOKEN_MALFORMED,
	 "!!.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsImlzcyI6InNob3AiLCJhdWQiOiJnYW1lIiw"
	 "icm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt2h8gtWbsz16DxuAH1Yg30t5vmJF8Y"},
	{"a header that is a list", TOKEN_MALFORMED,
	 "WyJhbGciXQ.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsImlzcyI6InNob3AiLCJhdWQiOiJ"
	 "nYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt2h8gtWbsz16DxuAH1Yg30t5vmJ"
	 "F8Y"},
	{"a header that is too long", TOKEN_MALFORMED,
	 "eyJhbGciOiJIUzI1NiIsIngiOiJ4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
	 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
	 "h4eHh4eHh4eCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjAsImlzcyI6InNob3AiLCJhdWQ"
	 "iOiJnYW1lIiwicm9sZSI6ImdtIiwibGV2ZWwiOjd9.CigxAtB-d7JKdt2h8gtWbsz16DxuAH1Yg30t"
	 "5vmJF8Y"},
};
/* clang-format on */

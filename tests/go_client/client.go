// Posts a body to an audit webhook with Go's own HTTP client, set up as kube-apiserver sets it up for its
// webhooks: HTTP/2 where ALPN offers it, a client certificate, a token, no redirects followed blindly.
//
// Prints one JSON object: how many requests ended with which status and protocol, over how many
// connections, and the last answer. It talks to loopback only.
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
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type summary struct {
	Answers     map[string]int `json:"answers"`
	Connections int64          `json:"connections"`
	Last        string         `json:"last"`
}

func main() {
	var (
		url         = flag.String("url", "", "where to post")
		ca          = flag.String("ca", "", "CA of the server, PEM")
		certificate = flag.String("cert", "", "client certificate, PEM")
		key         = flag.String("key", "", "its key, PEM")
		token       = flag.String("token", "", "bearer token")
		body        = flag.String("body", "", "file to post")
		requests    = flag.Int("requests", 1, "how many times")
		concurrency = flag.Int("concurrency", 1, "how many at a time")
		http1       = flag.Bool("http1", false, "HTTP/1.1 only")
	)
	flag.Parse()
	result, err := run(*url, *ca, *certificate, *key, *token, *body, *requests, *concurrency, *http1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func run(url, ca, certificate, key, token, bodyFile string, requests, concurrency int, http1 bool) (*summary, error) {
	body, err := os.ReadFile(bodyFile)
	if err != nil {
		return nil, err
	}
	config, err := tlsConfig(ca, certificate, key)
	if err != nil {
		return nil, err
	}
	var connections atomic.Int64
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 25,
		ForceAttemptHTTP2:   !http1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
				return nil, errors.New("not on loopback: " + address)
			}
			connections.Add(1)
			return dialer.DialContext(ctx, network, address)
		},
		// What Kubernetes' client sets: an HTTP/2 connection that is silent is asked whether it lives.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	result := &summary{Answers: map[string]int{}}
	var lock sync.Mutex
	var workers sync.WaitGroup
	turns := make(chan struct{}, requests)
	for range requests {
		turns <- struct{}{}
	}
	close(turns)
	for range concurrency {
		workers.Go(func() {
			for range turns {
				answer, last := post(client, url, token, body)
				lock.Lock()
				result.Answers[answer]++
				result.Last = last
				lock.Unlock()
			}
		})
	}
	workers.Wait()
	result.Connections = connections.Load()
	return result, nil
}

func post(client *http.Client, url, token string, body []byte) (answer, text string) {
	request, err := http.NewRequest(http.MethodPost, url+"?timeout=30s", bytes.NewReader(body))
	if err != nil {
		return "error", err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, */*")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return "error", err.Error()
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return "error", err.Error()
	}
	return fmt.Sprintf("%d %s", response.StatusCode, response.Proto), string(said)
}

func tlsConfig(ca, certificate, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + ca)
		}
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

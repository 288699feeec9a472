package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
)

// Server is one server lent by the harness (`compat lend`), gone when the connection ends.
type Server struct {
	stream net.Conn
	lines  *bufio.Reader
}

// NewServer asks for a server, with pairs of key and value for its zoo.cfg.
func NewServer(config ...string) *Server {
	stream, err := net.Dial("tcp", os.Getenv("SERVERS"))
	if err != nil {
		panic(failure{fmt.Sprintf("reach the harness at $SERVERS: %v", err)})
	}
	server := &Server{stream, bufio.NewReader(stream)}
	for i := 0; i+1 < len(config); i += 2 {
		server.Ask("config " + config[i] + " " + config[i+1])
	}
	return server
}

// Ask sends one line and returns the words of the answer; a refusal fails the test.
func (s *Server) Ask(line string) string {
	if _, err := fmt.Fprintln(s.stream, line); err != nil {
		panic(failure{err.Error()})
	}
	answer, err := s.lines.ReadString('\n')
	if err != nil {
		panic(failure{err.Error()})
	}
	verdict, words, _ := strings.Cut(strings.TrimSuffix(answer, "\n"), " ")
	if verdict != "ok" {
		panic(failure{line + ": " + words})
	}
	return words
}

// Close gives the server back.
func (s *Server) Close() {
	s.stream.Close()
}

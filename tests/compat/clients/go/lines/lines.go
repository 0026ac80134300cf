// Package lines is what a client program of the compatibility tests says and hears: JSON lines on its standard output,
// plain lines on its standard input. The verbs are described in tests/support/foreign.py.
package lines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Say writes one event.
func Say(event string, fields map[string]any) {
	if fields == nil {
		fields = map[string]any{}
	}
	fields["event"] = event
	line, err := json.Marshal(fields)
	Check(err)
	fmt.Println(string(line))
}

// Hear waits for one line.
func Hear() {
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	Check(err)
}

// Closed is closed when the standard input ends.
func Closed() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	return ended
}

// Check ends the program with the error.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Number reads an argument.
func Number(text string) int {
	number, err := strconv.Atoi(text)
	Check(err)
	return number
}

// Run calls the verb that the arguments name.
func Run(verbs map[string]func(arguments []string)) {
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: VERB ARGUMENTS; tests/support/foreign.py tells the verbs")
		os.Exit(2)
	}
	verbs[os.Args[1]](os.Args[2:])
}

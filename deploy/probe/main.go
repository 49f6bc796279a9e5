// Command probe asks a health address and ends with 0 if the answer is 200,
// else with 1. The images hold it because they hold no shell.
//
//	probe http://127.0.0.1:9080/readyz
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// limit is above the two seconds that a service gives its checks.
const limit = 4 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe URL")
		os.Exit(2)
	}
	if err := probe(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// probe writes the first 4 KiB of the answer to out.
func probe(url string, out io.Writer) error {
	client := http.Client{Timeout: limit}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(answer.Body, 4<<10)); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

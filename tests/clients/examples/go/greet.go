// go get github.com/contribsys/faktory github.com/contribsys/faktory_worker_go
package main

import (
	"context"
	"fmt"
	"log"

	faktory "github.com/contribsys/faktory/client"
	worker "github.com/contribsys/faktory_worker_go"
)

func greet(ctx context.Context, args ...interface{}) error {
	fmt.Printf("hello %v\n", args[0])
	return nil
}

func main() {
	client, err := faktory.Open()
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Push(faktory.NewJob("greet", "Ada")); err != nil {
		log.Fatal(err)
	}
	client.Close()

	manager := worker.NewManager()
	manager.Register("greet", greet)
	manager.Concurrency = 4
	manager.ProcessStrictPriorityQueues("default")
	log.Fatal(manager.Run())
}

package lookup_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cache/redislocal"
	"github.com/rescindhq/rescind/events"
)

func ExampleClient_Check() {
	server, err := redislocal.StartStandIn("")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Stop()

	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
	defer rdb.Close()
	client, err := lookup.New(rdb, lookup.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := events.Ref{Home: events.Home{Provider: "ringcentral", Tenant: "37439510"}, Subject: "42"}
	if err := workerReads(rdb, alice); err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	d, err := client.Check(ctx, alice, "permission/ReadMessages", "scope/ReadMessages")
	fmt.Println(d.Allowed(), d.State, d.Basis, d.Widths["permission/ReadMessages"], err)

	d, err = client.Check(ctx, alice, "permission/ReadMessages", "permission/EditMessages")
	fmt.Println(d.Allowed(), d.State, d.Missing, err)

	d, err = client.Check(ctx, alice, "feature/FaxSending")
	fmt.Println(d.Allowed(), d.State, d.Message, err)
	// Output:
	// true granted authz-profile Self <nil>
	// false denied [permission/EditMessages] <nil>
	// false unknown what is cached does not tell: not all that is needed was read <nil>
}

// workerReads stores what a provider says of a user, as the worker does it.
func workerReads(rdb redis.UniversalClient, r events.Ref) error {
	ctx := context.Background()
	store, err := fence.Open(ctx, rdb, cache.Keys{})
	if err != nil {
		return err
	}
	begun, err := store.Begin(ctx, r.Home, cache.EntryName(r), fence.Want{})
	if err != nil {
		return err
	}
	fields, err := cache.Facts{
		Basis:  "authz-profile",
		Covers: []cache.Kind{cache.Permission, cache.Scope},
		Grants: map[cache.Grant]string{"permission/ReadMessages": "Self", "scope/ReadMessages": cache.Unlimited},
	}.Fields()
	if err != nil {
		return err
	}
	_, err = store.Commit(ctx, begun.Lease, fence.Fill{
		Fields: fields, Tags: []events.Tag{events.SubjectTag(r.Subject)}, Life: time.Minute,
	})
	return err
}

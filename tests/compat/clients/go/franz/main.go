// The verbs of tests/support/foreign.py with franz-go.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"tallystick/compat/lines"
)

// login is how tests/support/foreign.py says who the client is; nothing without it.
func login() []kgo.Opt {
	user, present := os.LookupEnv("CLIENT_USER")
	if !present {
		return nil
	}
	pem, err := os.ReadFile(os.Getenv("CLIENT_CA"))
	lines.Check(err)
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pem)
	return []kgo.Opt{
		kgo.SASL(scram.Auth{User: user, Pass: os.Getenv("CLIENT_PASSWORD")}.AsSha512Mechanism()),
		kgo.DialTLSConfig(&tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}),
	}
}

func client(bootstrap string, options ...kgo.Opt) *kgo.Client {
	base := append(login(), kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	made, err := kgo.NewClient(append(base, options...)...)
	lines.Check(err)
	return made
}

func record(topic, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: 0, Value: []byte(value)}
}

func produce(arguments []string) {
	bootstrap, topic, count := arguments[0], arguments[1], lines.Number(arguments[2])
	made := client(bootstrap, kgo.ProducerLinger(2*time.Millisecond))
	defer made.Close()
	for number := range count {
		made.Produce(context.Background(), record(topic, strconv.Itoa(number)), func(_ *kgo.Record, err error) {
			lines.Check(err)
		})
	}
	lines.Check(made.Flush(context.Background()))
}

func groupOptions(topic, group string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.SessionTimeout(6 * time.Second),
	}
}

func consume(arguments []string) {
	bootstrap, topic, group := arguments[0], arguments[1], arguments[2]
	assigned := func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
		lines.Say("assigned", map[string]any{"partitions": append([]int32{}, places[topic]...)})
	}
	options := append(groupOptions(topic, group), kgo.OnPartitionsAssigned(assigned), kgo.DisableAutoCommit())
	made := client(bootstrap, options...)
	live, stop := context.WithCancel(context.Background())
	go func() {
		<-lines.Closed()
		stop()
	}()
	for live.Err() == nil {
		fetches := made.PollFetches(live)
		fetches.EachRecord(func(got *kgo.Record) {
			lines.Check(made.CommitRecords(context.Background(), got))
			lines.Say("record", map[string]any{"partition": got.Partition, "value": string(got.Value)})
		})
	}
	made.Close()
}

func transact(arguments []string) {
	bootstrap, topic, identity, rounds := arguments[0], arguments[1], arguments[2], lines.Number(arguments[3])
	made := client(bootstrap, kgo.TransactionalID(identity))
	defer made.Close()
	ctx := context.Background()
	for number := range rounds {
		lines.Check(made.BeginTransaction())
		lines.Check(made.ProduceSync(ctx, record(topic, strconv.Itoa(number))).FirstErr())
		lines.Check(made.EndTransaction(ctx, kgo.TransactionEndTry(number%2 == 0)))
	}
}

// Every second transaction aborts; the session then goes back to the committed offsets by itself.
func copyRecords(arguments []string) {
	bootstrap, source, group, target := arguments[0], arguments[1], arguments[2], arguments[3]
	identity, count := arguments[4], lines.Number(arguments[5])
	options := append(append(groupOptions(source, group), login()...),
		kgo.SeedBrokers(bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionalID(identity),
		kgo.RequireStableFetchOffsets(),
	)
	session, err := kgo.NewGroupTransactSession(options...)
	lines.Check(err)
	defer session.Close()
	ctx := context.Background()
	commits := false
	for copied := 0; copied < count; {
		fetches := session.PollRecords(ctx, 5)
		lines.Check(fetches.Err())
		if fetches.NumRecords() == 0 {
			continue
		}
		lines.Check(session.Begin())
		var copies []*kgo.Record
		fetches.EachRecord(func(got *kgo.Record) { copies = append(copies, record(target, string(got.Value))) })
		lines.Check(session.ProduceSync(ctx, copies...).FirstErr())
		done, err := session.End(ctx, kgo.TransactionEndTry(commits))
		lines.Check(err)
		if done {
			copied += fetches.NumRecords()
		}
		commits = !commits
	}
}

func fenced(arguments []string) {
	bootstrap, topic, identity := arguments[0], arguments[1], arguments[2]
	made := client(bootstrap, kgo.TransactionalID(identity))
	ctx := context.Background()
	lines.Check(made.BeginTransaction())
	lines.Check(made.ProduceSync(ctx, record(topic, "old")).FirstErr())
	lines.Say("open", nil)
	lines.Hear()
	if err := made.EndTransaction(ctx, kgo.TryCommit); err != nil {
		lines.Say("fenced", map[string]any{"error": err.Error()})
	} else {
		lines.Say("committed", nil)
	}
}

func main() {
	lines.Run(map[string]func([]string){
		"produce": produce, "consume": consume, "transact": transact, "copy": copyRecords, "fenced": fenced,
	})
}

// The verbs of tests/support/foreign.py with sarama.
package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"tallystick/compat/lines"
)

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Net.MaxOpenRequests = 1 // what it demands of an idempotent producer
	return config
}

func producer(bootstrap, identity string) sarama.SyncProducer {
	config := settings()
	config.Producer.Transaction.ID = identity
	config.Producer.Transaction.Retry.Backoff = 5 * time.Millisecond
	made, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	lines.Check(err)
	return made
}

func message(topic, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Partition: 0, Value: sarama.StringEncoder(value)}
}

func produce(arguments []string) {
	bootstrap, topic, count := arguments[0], arguments[1], lines.Number(arguments[2])
	made := producer(bootstrap, "")
	messages := make([]*sarama.ProducerMessage, count)
	for number := range messages {
		messages[number] = message(topic, strconv.Itoa(number))
	}
	lines.Check(made.SendMessages(messages))
	lines.Check(made.Close())
}

// member is a group's member that gives each record to `take`, and leaves when that says so.
type member struct {
	topic string
	take  func(session sarama.ConsumerGroupSession, got *sarama.ConsumerMessage) bool
	leave context.CancelFunc
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	lines.Say("assigned", map[string]any{"partitions": append([]int32{}, session.Claims()[m.topic]...)})
	return nil
}

func (*member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case got, open := <-claim.Messages():
			if !open {
				return nil
			}
			if m.take(session, got) {
				m.leave()
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func follow(bootstrap, topic, group string, live context.Context, handler *member) {
	made, err := sarama.NewConsumerGroup([]string{bootstrap}, group, settings())
	lines.Check(err)
	for live.Err() == nil {
		err := made.Consume(live, []string{topic}, handler)
		if !errors.Is(err, context.Canceled) {
			lines.Check(err)
		}
	}
	lines.Check(made.Close())
}

func consume(arguments []string) {
	live, stop := context.WithCancel(context.Background())
	go func() {
		<-lines.Closed()
		stop()
	}()
	take := func(session sarama.ConsumerGroupSession, got *sarama.ConsumerMessage) bool {
		session.MarkMessage(got, "")
		session.Commit()
		lines.Say("record", map[string]any{"partition": got.Partition, "value": string(got.Value)})
		return false
	}
	follow(arguments[0], arguments[1], arguments[2], live, &member{topic: arguments[1], take: take, leave: stop})
}

func transact(arguments []string) {
	bootstrap, topic, identity, rounds := arguments[0], arguments[1], arguments[2], lines.Number(arguments[3])
	made := producer(bootstrap, identity)
	for number := range rounds {
		lines.Check(made.BeginTxn())
		_, _, err := made.SendMessage(message(topic, strconv.Itoa(number)))
		lines.Check(err)
		if number%2 == 0 {
			lines.Check(made.CommitTxn())
		} else {
			lines.Check(made.AbortTxn())
		}
	}
	lines.Check(made.Close())
}

// Each transaction of five records is aborted once, and then done again.
func copyRecords(arguments []string) {
	bootstrap, source, group, target := arguments[0], arguments[1], arguments[2], arguments[3]
	identity, count := arguments[4], lines.Number(arguments[5])
	made := producer(bootstrap, identity)
	live, stop := context.WithCancel(context.Background())
	var batch []*sarama.ConsumerMessage
	copied := 0
	once := func() {
		lines.Check(made.BeginTxn())
		for _, got := range batch {
			_, _, err := made.SendMessage(message(target, string(got.Value)))
			lines.Check(err)
		}
		lines.Check(made.AddMessageToTxn(batch[len(batch)-1], group, nil))
	}
	take := func(_ sarama.ConsumerGroupSession, got *sarama.ConsumerMessage) bool {
		batch = append(batch, got)
		if len(batch) < 5 && copied+len(batch) < count {
			return false
		}
		once()
		lines.Check(made.AbortTxn())
		once()
		lines.Check(made.CommitTxn())
		copied += len(batch)
		batch = nil
		return copied == count
	}
	follow(bootstrap, source, group, live, &member{topic: source, take: take, leave: stop})
	lines.Check(made.Close())
}

func fenced(arguments []string) {
	bootstrap, topic, identity := arguments[0], arguments[1], arguments[2]
	made := producer(bootstrap, identity)
	lines.Check(made.BeginTxn())
	_, _, err := made.SendMessage(message(topic, "old"))
	lines.Check(err)
	lines.Say("open", nil)
	lines.Hear()
	if err := made.CommitTxn(); err != nil {
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

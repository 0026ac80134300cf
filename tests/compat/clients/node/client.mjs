// The verbs of tests/support/foreign.py with kafkajs.
import { createInterface } from 'node:readline'
import { Kafka, logLevel } from 'kafkajs'

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }))
const input = createInterface({ input: process.stdin })
const hear = () => new Promise((resolve) => input.once('line', resolve))
const closed = new Promise((resolve) => input.once('close', resolve))

const kafka = (bootstrap) =>
  new Kafka({ brokers: [bootstrap], clientId: 'kafkajs', logLevel: logLevel.ERROR, retry: { initialRetryTime: 50 } })

// Its idempotent producer wants one request at a time.
const producer = async (bootstrap, transactionalId) => {
  const made = kafka(bootstrap).producer({ idempotent: true, maxInFlightRequests: 1, transactionalId })
  await made.connect()
  return made
}

const member = async (bootstrap, topic, groupId) => {
  const made = kafka(bootstrap).consumer({
    groupId,
    sessionTimeout: 6000,
    heartbeatInterval: 300,
    maxWaitTimeInMs: 200,
    readUncommitted: false,
  })
  made.on(made.events.GROUP_JOIN, ({ payload }) =>
    say('assigned', { partitions: payload.memberAssignment[topic] ?? [] }))
  await made.connect()
  await made.subscribe({ topics: [topic], fromBeginning: true })
  return made
}

const message = (value) => ({ partition: 0, value: String(value) })

const verbs = {
  async produce(bootstrap, topic, count) {
    const made = await producer(bootstrap)
    const values = Array.from({ length: Number(count) }, (_, number) => number)
    for (let start = 0; start < values.length; start += 50) {
      await made.send({ topic, acks: -1, messages: values.slice(start, start + 50).map(message) })
    }
    await made.disconnect()
  },

  async consume(bootstrap, topic, group) {
    const made = await member(bootstrap, topic, group)
    await made.run({
      autoCommit: false,
      eachMessage: async ({ partition, message: got }) => {
        await made.commitOffsets([{ topic, partition, offset: String(BigInt(got.offset) + 1n) }])
        say('record', { partition, value: got.value.toString() })
      },
    })
    await closed
    await made.disconnect()
  },

  async transact(bootstrap, topic, identity, rounds) {
    const made = await producer(bootstrap, identity)
    for (let number = 0; number < Number(rounds); number++) {
      const transaction = await made.transaction()
      await transaction.send({ topic, messages: [message(number)] })
      await (number % 2 === 0 ? transaction.commit() : transaction.abort())
    }
    await made.disconnect()
  },

  // Each transaction is aborted once, and then done again.
  async copy(bootstrap, source, group, target, identity, count) {
    const writer = await producer(bootstrap, identity)
    const reader = await member(bootstrap, source, group)
    let copied = 0
    const once = async (partition, messages, ends) => {
      const transaction = await writer.transaction()
      await transaction.send({ topic: target, messages: messages.map((got) => message(got.value)) })
      const offset = String(BigInt(messages.at(-1).offset) + 1n)
      const topics = [{ topic: source, partitions: [{ partition, offset }] }]
      await transaction.sendOffsets({ consumerGroupId: group, topics })
      await transaction[ends]()
    }
    await new Promise((resolve, reject) => {
      const eachBatch = async ({ batch, resolveOffset, heartbeat }) => {
        for (let start = 0; start < batch.messages.length; start += 5) {
          const messages = batch.messages.slice(start, start + 5)
          await once(batch.partition, messages, 'abort')
          await once(batch.partition, messages, 'commit')
          resolveOffset(messages.at(-1).offset)
          await heartbeat()
          copied += messages.length
        }
        if (copied >= Number(count)) resolve()
      }
      reader.on(reader.events.CRASH, ({ payload }) => reject(payload.error))
      reader.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch }).catch(reject)
    })
    await reader.disconnect()
    await writer.disconnect()
  },

  async fenced(bootstrap, topic, identity) {
    const made = await producer(bootstrap, identity)
    const transaction = await made.transaction()
    await transaction.send({ topic, messages: [message('old')] })
    say('open')
    await hear()
    try {
      await transaction.commit()
      say('committed')
    } catch (error) {
      say('fenced', { error: String(error) })
    }
  },
}

const [verb, ...words] = process.argv.slice(2)
try {
  await verbs[verb](...words)
  process.exit(0)
} catch (error) {
  console.error(error)
  process.exit(1)
}

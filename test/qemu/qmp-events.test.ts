import { expect, test } from 'vitest'
import { EventHub } from '../../src/qemu/qmp-events.ts'

const event = (name: string) => ({
  ...{ event: name, data: undefined },
  timestamp: { seconds: 1, microseconds: 0 },
})

test('those who listen hear another one from then on', async () => {
  const [one, other] = [new EventHub(), new EventHub()]
  const all = one.subscribe()
  const stops = one.subscribe('STOP')
  const left = one.subscribe()
  one.publish(event('A'))
  one.moveTo(other)
  one.publish(event('nobody hears it'))
  one.end()
  other.publish(event('STOP'))
  expect((await all.next()).value?.event).toBe('A')
  expect((await all.next()).value?.event).toBe('STOP')
  expect((await stops.next()).value?.event).toBe('STOP')
  await left.return?.()
  other.publish(event('B'))
  other.end()
  expect((await all.next()).value?.event).toBe('B')
  expect(await all.next()).toEqual({ done: true, value: undefined })
  expect(await left.next()).toEqual({ done: true, value: undefined })
})

test('who comes to one that has ended hears that', async () => {
  const [one, other] = [new EventHub(), new EventHub()]
  const all = one.subscribe()
  const next = all.next()
  other.end()
  one.moveTo(other)
  expect(await next).toEqual({ done: true, value: undefined })
})

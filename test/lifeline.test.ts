import { describe, expect, test } from 'vitest'
import { Lifeline } from '../src/lifeline.ts'
import { waitFor } from '../src/wait.ts'

const never = new Promise<never>(() => {})
const dead = new Error('QEMU is gone')
const broken = new Error('the switch is gone')

describe('the end of a lifeline', () => {
  test('fails the waits of now and of later, with the first cause', async () => {
    const life = new Lifeline()
    const waiting = waitFor(never, { signal: life.signal })
    life.end(dead)
    life.end(new Error('something else'))
    await expect(waiting).rejects.toBe(dead)
    await expect(waitFor(never, { signal: life.signal })).rejects.toBe(dead)
    expect(life.ended.reason).toBe(dead)
  })

  test('is its children’s too, whenever they were made', () => {
    const life = new Lifeline()
    const child = new Lifeline(life)
    const grandchild = new Lifeline(child)
    const { signal } = grandchild
    life.end(dead)
    expect(signal.reason).toBe(dead)
    expect(grandchild.ended.reason).toBe(dead)
    expect(new Lifeline(life).ended.reason).toBe(dead)
  })

  test('of a child is not its parent’s', () => {
    const life = new Lifeline()
    new Lifeline(life).end(dead)
    expect(life.ended.aborted).toBe(false)
    expect(life.signal.aborted).toBe(false)
  })
})

describe('an alarm', () => {
  test('fails the waits of now, not those that begin later', async () => {
    const life = new Lifeline()
    const waiting = waitFor(never, { signal: life.signal })
    life.alarm(broken)
    await expect(waiting).rejects.toBe(broken)
    expect(life.signal.aborted).toBe(false)
    expect(life.ended.aborted).toBe(false)
    await expect(waitFor(Promise.resolve(1), { signal: life.signal })).resolves.toBe(1)
  })

  test('can be raised again', async () => {
    const life = new Lifeline()
    life.alarm(broken)
    const waiting = waitFor(never, { signal: life.signal })
    life.alarm(dead)
    await expect(waiting).rejects.toBe(dead)
  })

  test('reaches the waits of children', async () => {
    const life = new Lifeline()
    const waiting = waitFor(never, { signal: new Lifeline(new Lifeline(life)).signal })
    life.alarm(broken)
    await expect(waiting).rejects.toBe(broken)
  })
})

describe('a standstill', () => {
  const still = { hint: 'the disk is full', cause: broken }

  test('fails the waits of now and of later, its children’s too, until it goes on', async () => {
    const life = new Lifeline()
    const child = new Lifeline(life)
    const waiting = [life, child].map(({ signal }) => waitFor(never, { signal }))
    life.standStill(still)
    for (const wait of waiting) await expect(wait).rejects.toBe(broken)
    for (const { signal } of [life, child]) expect(signal.reason).toBe(broken)
    expect(child.still).toBe(still)
    expect(life.ended.aborted).toBe(false)
    life.goOn()
    for (const { signal } of [life, child]) expect(signal.aborted).toBe(false)
    expect(child.still).toBeUndefined()
  })

  test('without a cause fails nothing, and its reason is there for who waits', async () => {
    const life = new Lifeline()
    const { signal } = life
    life.standStill({ hint: 'paused' })
    expect(signal.aborted).toBe(false)
    expect(life.signal.aborted).toBe(false)
    expect(await new Lifeline(life).diagnose()).toBe('paused')
  })

  test('is over when it goes on, or when all is over', async () => {
    for (const end of ['goOn', 'end'] as const) {
      const life = new Lifeline()
      const child = new Lifeline(life)
      await child.moving
      life.standStill({ hint: 'paused' })
      life.standStill(still)
      let isOver = false
      const moving = child.moving.then(() => {
        isOver = true
      })
      await waitFor(new Promise(setImmediate))
      expect(isOver).toBe(false)
      life[end](dead)
      await moving
    }
  })

  test('gives way to the end', () => {
    const life = new Lifeline()
    life.standStill(still)
    life.end(dead)
    expect(life.signal.reason).toBe(dead)
    expect(life.still).toBeUndefined()
  })

  test('that nothing has told of is looked for, by the parent too', async () => {
    const life = new Lifeline()
    life.onDiagnose = async () => 'frozen'
    expect(await new Lifeline(life).diagnose()).toBe('frozen')
    expect(await new Lifeline().diagnose()).toBeUndefined()
  })
})

test('a hundred sessions of one VM raise no warning of leaking listeners', async () => {
  const warnings: Error[] = []
  const note = (warning: Error) => void warnings.push(warning)
  process.on('warning', note)
  const life = new Lifeline()
  const children = Array.from({ length: 100 }, () => new Lifeline(life))
  for (const child of children) expect(child.signal.aborted).toBe(false)
  await waitFor(new Promise(setImmediate))
  process.off('warning', note)
  expect(warnings).toEqual([])
})

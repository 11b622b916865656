import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { joinChannel, serveChannel, type ToMain, type ToWorker } from '../../src/runner/channel.ts'
import { poll, waitFor } from '../../src/wait.ts'
import { startProcess } from '../support/process.ts'

async function serve() {
  const dir = await mkdtemp(join(tmpdir(), 'channel-'))
  const path = join(dir, 'main')
  const heard: ToMain[] = []
  const server = await serveChannel(path, (message) => heard.push(message))
  onTestFinished(async () => {
    server.close()
    await rm(dir, { recursive: true })
  })
  return { dir, path, heard, ...server }
}
function member(path: string) {
  const heard: ToWorker[] = []
  const worker = joinChannel(path, (message) => heard.push(message))
  onTestFinished(() => worker.close())
  return { heard, ...worker }
}
const fleet = (suite: string): ToMain => ({ type: 'fleet', suite, vms: [] })
const count = (list: unknown[], length: number) =>
  poll(() => (list.length >= length ? true : undefined), { timeoutMs: 5000 })

describe('the channel of a run', () => {
  test('brings what workers tell, in order, although they tell it at once', async () => {
    const { path, heard } = await serve()
    const worker = member(path)
    const messages = Array.from({ length: 2000 }, (_, i) => fleet(`žluť ${i}\n"`))
    for (const message of messages) worker.tell(message)
    await count(heard, 2000)
    expect(heard).toEqual(messages)
  })

  test('brings what the main process tells to every worker that is there', async () => {
    const { path, heard, tellAll } = await serve()
    const [a, b] = [member(path), member(path)]
    a.tell(fleet('a'))
    b.tell(fleet('b'))
    await count(heard, 2)
    tellAll({ type: 'cancel', reason: 'keyboard-input' })
    await count(a.heard, 1)
    await count(b.heard, 1)
    expect(b.heard).toEqual([{ type: 'cancel', reason: 'keyboard-input' }])
    b.close()
    tellAll({ type: 'cancel', reason: 'again' })
    await count(a.heard, 2)
  })

  test('puts together messages that reads have cut, in the middle of a character too', async () => {
    const { path, heard } = await serve()
    const line = Buffer.from(`${JSON.stringify(fleet('漢字'))}\n`)
    const socket = connect(path)
    onTestFinished(() => void socket.destroy())
    for (let at = 0; at < line.length; at++) {
      socket.write(line.subarray(0, at))
      await new Promise<void>((resolve) => socket.write(line.subarray(at), () => resolve()))
    }
    await count(heard, line.length)
    expect(heard).toEqual(Array(line.length).fill(fleet('漢字')))
  })

  test('that is closed still hears the workers that are cleaning up', async () => {
    const { path, heard, close } = await serve()
    const worker = member(path)
    worker.tell(fleet('before'))
    await count(heard, 1)
    close()
    worker.tell(fleet('after'))
    await count(heard, 2)
  })

  test('does not trouble a worker whose main process is not there', async () => {
    const { dir } = await serve()
    const worker = member(join(dir, 'nobody'))
    worker.tell(fleet('a'))
    await new Promise(setImmediate)
    worker.tell(fleet('b'))
    expect(worker.heard).toEqual([])
  })

  test('lives on when a worker is killed in the middle of its words', async () => {
    const { path, heard, tellAll } = await serve()
    const killed = startProcess('tell-half.ts', [path], { lockDir: '/nonexistent' })
    onTestFinished(() => killed.kill())
    expect(await killed.line()).toBe('told')
    await killed.kill('SIGKILL')
    const worker = member(path)
    worker.tell(fleet('alive'))
    await poll(() => heard.find(({ suite }) => suite === 'alive'), { timeoutMs: 5000 })
    expect(heard.map(({ suite }) => suite)).toEqual(['whole', 'alive'])
    tellAll({ type: 'cancel', reason: 'x' })
    await count(worker.heard, 1)
  })

  test('does not keep a worker alive', async () => {
    const { path } = await serve()
    const worker = startProcess('join-and-end.ts', [path], { lockDir: '/nonexistent' })
    onTestFinished(() => worker.kill())
    expect(await waitFor(worker.exited, { timeoutMs: 20_000 })).toEqual({ code: 0, signal: null })
  })
})

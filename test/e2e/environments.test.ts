import { expect, test } from 'vitest'
import { HEAD, makeProject } from '../support/project.ts'

const SPEC = `${HEAD}
const test = dutTest({ vm: { memory: '256M' } })
test('commands end, and those that are late are ended', async ({ vm, dut }) => {
  expect((await vm.cmd('echo hi')).output).toBe('hi\\n')
  expect((await dut.exec('echo on')).stdout).toBe('on\\n')
  await expect(vm.cmd('sleep 100', '', '500ms')).rejects.toThrow('sleep')
})
test('a command ends with its test', { timeout: 1000, fails: true }, ({ vm }) => vm.cmd('sleep 100', '', '1h'))
test('the VM is there afterwards', async ({ vm }) => {
  expect((await vm.exec('echo there')).stdout).toBe('there\\n')
})
`

/** Does as happy-dom and jsdom do: classes and timers of their own in the place of Node's. */
const FOREIGN = `
class AbortSignal {
  aborted = false
  #listeners = []
  addEventListener(_, listener) { this.#listeners.push(listener) }
  removeEventListener(_, listener) { this.#listeners = this.#listeners.filter((one) => one !== listener) }
  throwIfAborted() { if (this.aborted) throw this.reason }
  fire(reason) {
    if (this.aborted) return
    Object.assign(this, { aborted: true, reason })
    for (const listener of this.#listeners) (listener.handleEvent ?? listener)({ type: 'abort' })
  }
  static any() { throw new TypeError('no signal of this environment') }
  static timeout() { throw new TypeError('no timer of this environment') }
}
class AbortController {
  signal = new AbortSignal()
  abort(reason) { this.signal.fire(reason ?? new Error('aborted')) }
}
const { setTimeout: real } = globalThis
const setTimeout = (...words) => Number(real(...words)) // not an object, as in a browser
const foreign = { AbortController, AbortSignal, setTimeout }
export default {
  name: 'foreign',
  viteEnvironment: 'ssr',
  setup(global) {
    const before = Object.fromEntries(Object.keys(foreign).map((key) => [key, global[key]]))
    Object.assign(global, foreign)
    return { teardown: () => void Object.assign(global, before) }
  },
}
`

test('an environment with timers and signals of its own changes nothing', async () => {
  const project = makeProject({ 'a.spec.ts': SPEC, 'foreign.js': FOREIGN })
  const { status, output } = await project.vitest('--environment=./foreign.js').ended
  expect(output).not.toContain('TypeError')
  expect(status, output).toBe(0)
  expect(project.processes()).toEqual([])
  expect(project.runFolders()).toEqual([])
})

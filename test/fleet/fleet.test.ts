import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { Dut } from '../../src/fleet/dut.ts'
import { startFleet } from '../../src/fleet/fleet.ts'
import { localHost } from '../../src/host/local.ts'
import type { VmSpec } from '../../src/vm/spec/spec.ts'
import { waitFor } from '../../src/wait.ts'
import { isRunning, untilGone } from '../support/processes.ts'

/** DUTs of this machine without VMs: real QEMUs are the end-to-end tests' part. */
async function makeDuts(...names: string[]): Promise<Dut[]> {
  const base = await mkdtemp(join(tmpdir(), 'fleet-'))
  onTestFinished(() => rm(base, { recursive: true }))
  const host = localHost()
  return Promise.all(
    names.map(async (name) => {
      const dir = join(base, name)
      await host.makeDir(dir)
      return new Dut({ name, host, dir, bootTimeoutMs: 1000 })
    }),
  )
}
const gone = (path: string) => expect(stat(path)).rejects.toThrow('ENOENT')

describe('a fleet', () => {
  test('has a backend on each DUT, in the DUTs’ order', async () => {
    const duts = await makeDuts('left', 'right')
    const fleet = await startFleet(duts, { vms: 0, backend: (dut) => `switch on ${dut.name}` })
    expect(fleet.backends).toEqual(['switch on left', 'switch on right'])
    expect(fleet.duts).toEqual(duts)
    expect(fleet.vms).toEqual([])
    await fleet.stop()
    for (const dut of duts) await gone(dut.dir)
  })

  test('starts its backends in parallel', async () => {
    const duts = await makeDuts('left', 'right')
    const both = Promise.withResolvers<void>()
    let begun = 0
    const fleet = await startFleet(duts, {
      vms: 0,
      backend: () => {
        if (++begun === 2) both.resolve()
        return waitFor(both.promise, { timeoutMs: 5000 })
      },
    })
    await fleet.stop()
  })

  test('cleans up in the reverse order, once, and what backends spawned is gone', async () => {
    const [dut] = (await makeDuts('dut0')) as [Dut]
    const done: string[] = []
    let pid = 0
    const fleet = await startFleet([dut], {
      vms: 0,
      backend: async (dut, { onCleanup }) => {
        onCleanup(() => void done.push('first'))
        onCleanup(async () => {
          expect(isRunning(pid)).toBe(true)
          done.push('second')
        })
        const program = await dut.spawn('echo pid $$; exec tail -f /dev/null', { prompt: '\n' })
        pid = Number(/\d+/.exec(program.console.text)?.[0])
      },
    })
    expect(isRunning(pid)).toBe(true)
    await Promise.all([fleet.stop(), fleet.stop()])
    await fleet[Symbol.asyncDispose]()
    expect(done).toEqual(['second', 'first'])
    await untilGone(pid)
    await gone(dut.dir)
  })

  test('cleans up everything although some of it fails, and tells the first failure', async () => {
    const duts = await makeDuts('left', 'right')
    const done: string[] = []
    const fleet = await startFleet(duts, {
      vms: 0,
      backend: ({ name }, { onCleanup }) =>
        onCleanup(() => {
          done.push(name)
          throw new Error(`${name} will not`)
        }),
    })
    await expect(fleet.stop()).rejects.toThrow('right will not')
    expect(done).toEqual(['right', 'left'])
    for (const dut of duts) await gone(dut.dir)
  })
})

describe('a fleet that cannot start', () => {
  test('because a backend fails leaves nothing, on no DUT', async () => {
    const duts = await makeDuts('left', 'right')
    const done: string[] = []
    const starting = startFleet(duts, {
      backend: async (dut, { onCleanup }) => {
        onCleanup(() => void done.push(dut.name))
        await dut.exec('true')
        if (dut.name === 'left') throw new Error('no huge pages')
      },
    })
    await expect(starting).rejects.toThrow('no huge pages')
    expect(done.sort()).toEqual(['left', 'right'])
    for (const dut of duts) await gone(dut.dir)
  })

  test('tells why, although the clean-up fails too', async () => {
    const duts = await makeDuts('dut0')
    const starting = startFleet(duts, {
      backend: (_, { onCleanup }) => {
        onCleanup(() => Promise.reject(new Error('clean-up')))
        throw new Error('the cause')
      },
    })
    await expect(starting).rejects.toThrow('the cause')
  })

  test.each<[string, { vms?: number; vm?: VmSpec | (() => VmSpec) }, string]>([
    ['a bad count', { vms: -1 }, 'vms: -1 is not a whole number'],
    ['half a VM', { vms: 1.5 }, 'vms: 1.5 is not a whole number'],
    ['one name for two', { vms: 2, vm: { name: 'a' } }, '2 VMs cannot all be named "a"'],
    ['the same name twice', { vms: 2, vm: () => ({ name: 'a' }) }, 'two VMs on dut0 are named "a"'],
    ['a misspelt key', { vm: () => ({ memroy: '1G' }) as VmSpec }, 'did you mean "memory"?'],
  ])('because of %s is a wrong call, and leaves nothing', async (_, options, message) => {
    const [dut] = (await makeDuts('dut0')) as [Dut]
    const done: string[] = []
    const starting = startFleet([dut], {
      ...options,
      backend: (_, { onCleanup }) => onCleanup(() => void done.push('backend')),
    })
    const error = await starting.catch((error) => error)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(message)
    expect(done).toEqual(['backend'])
    await gone(dut.dir)
  })

  test('because it was cancelled while a backend started cleans that up', async () => {
    const [dut] = (await makeDuts('dut0')) as [Dut]
    const stop = new AbortController()
    const done: string[] = []
    const starting = startFleet(
      [dut],
      {
        vm: () => {
          throw new Error('never asked for')
        },
        backend: (_, { onCleanup }) => {
          onCleanup(() => void done.push('backend'))
          stop.abort(new Error('cancelled'))
        },
      },
      { signal: stop.signal },
    )
    await expect(starting).rejects.toThrow('cancelled')
    expect(done).toEqual(['backend'])
    await gone(dut.dir)
  })
})

describe('the VMs that a fleet asks for', () => {
  test('are asked for once each, with their DUT, number and backend', async () => {
    const duts = await makeDuts('left', 'right')
    const asked: string[] = []
    const all = Promise.withResolvers<void>()
    const starting = startFleet(duts, {
      vms: (dut) => (dut.name === 'left' ? 1 : 2),
      backend: (dut) => dut.name.toUpperCase(),
      vm: async ({ dut, index, backend }) => {
        if (asked.push(`${dut.name} ${index} ${backend}`) === 3) all.resolve()
        await waitFor(all.promise, { timeoutMs: 5000 })
        return { accel: 'none' as 'tcg' }
      },
    })
    await expect(starting).rejects.toThrow('accel: "none" is unknown')
    expect(asked.sort()).toEqual(['left 0 LEFT', 'right 0 RIGHT', 'right 1 RIGHT'])
    expect(await readdir(join(duts[0]?.dir ?? '', '..'))).toEqual([])
  })
})

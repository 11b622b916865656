import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { Dut } from '../../src/fleet/dut.ts'
import { type FleetOptions, startFleet } from '../../src/fleet/fleet.ts'
import { checkLeftovers, processesOf, suiteEnv } from '../../src/fleet/leftovers.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admission/admit.ts'
import { poll } from '../../src/wait.ts'
import { useLockDir } from '../support/lock-dir.ts'
import { isRunning, untilGone } from '../support/processes.ts'
import { stopTime } from '../support/stop-time.ts'

const locks = useLockDir()
let host: Host
let base = ''
let dut: Dut
beforeEach(async () => {
  host = localHost()
  base = await mkdtemp(join(tmpdir(), 'left-'))
  onTestFinished(() => rm(base, { recursive: true }))
  dut = new Dut({ name: 'dut0', host, dir: join(base, 'suite'), bootTimeoutMs: 1000 })
})

/** A suite without VMs, whose backend is what there is to look at. */
const suite = (backend: FleetOptions<void>['backend']) => startFleet([dut], { vms: 0, backend })

/**
 * A program that goes away as daemons do (daemon(7)): two forks, a session and a folder of its own, no
 * terminal. It writes its id to a file.
 */
const daemon = (body: string) => {
  const inner = `cd / && echo $$ >${base}/pid; ${body}`
  return `setsid --fork sh -c '(sh -c "${inner.replaceAll('$', '\\$')}" & )' </dev/null >/dev/null 2>&1`
}
const SLEEP = 'exec sleep 12345.5'

async function daemonPid(): Promise<number> {
  const file = join(base, 'pid')
  const read = async () =>
    Number(
      await stat(file).then(
        () => readFileSync(file, 'utf8'),
        () => 0,
      ),
    )
  return poll(async () => (await read()) || undefined, { timeoutMs: 10_000 })
}

describe('a program that a suite starts and does not end', () => {
  test.each<[string, (daemon: string) => FleetOptions<void>['backend']]>([
    ['through dut.exec', (line) => async (dut) => void (await dut.exec(line, { check: true }))],
    [
      'through dut.spawn',
      (line) => async (dut) => void (await dut.spawn(`${line}; echo up; cat`, { prompt: 'up' })),
    ],
    [
      'by a child of its own',
      (line) => async (dut) =>
        void (await host.run('sh', ['-c', line], { env: suiteEnv(dut.dir) })),
    ],
  ])('is told, and dead: %s', async (_, backend) => {
    const fleet = await suite(backend(daemon(SLEEP)))
    const pid = await daemonPid()
    const error = await fleet.stop().catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toBe(
      `dut0: the suite left behind:\n  process ${pid}, killed now: sleep 12345.5\n` +
        '→ end what a backend or a test starts: with onCleanup, or through dut.spawn, which does it',
    )
    expect(isRunning(pid)).toBe(false)
    await expect(stat(dut.dir)).rejects.toThrow('ENOENT')
  })

  test('is no matter where onCleanup ends it', async () => {
    const fleet = await suite(async (dut, { onCleanup }) => {
      await dut.exec(daemon(SLEEP))
      const pid = await daemonPid()
      onCleanup(() => void process.kill(pid))
    })
    await fleet.stop()
    await untilGone(await daemonPid())
  })

  test('is no matter where it ends by itself soon after', async () => {
    await writeFile(join(base, 'stay'), '')
    const fleet = await suite(async (dut, { onCleanup }) => {
      await dut.exec(daemon(`while [ -e ${base}/stay ]; do sleep 0.1; done; sleep 0.2`))
      await daemonPid()
      onCleanup(() => rm(join(base, 'stay')))
    })
    await fleet.stop()
  })

  test('is dead also where the start of the suite fails', async () => {
    const starting = suite(async (dut) => {
      await dut.exec(daemon(SLEEP))
      throw new Error('the switch is not there')
    })
    await expect(starting).rejects.toThrow('the switch is not there')
    await untilGone(await daemonPid())
  })

  test('is dead also where something else fails to end', async () => {
    const fleet = await suite(async (dut, { onCleanup }) => {
      await dut.exec(daemon(SLEEP))
      onCleanup(() => Promise.reject(new Error('the clean-up broke')))
    })
    await expect(fleet.stop()).rejects.toThrow('the clean-up broke')
    await untilGone(await daemonPid())
  })

  test('that starts itself anew is dead all the same', async () => {
    const restarted = 'while :; do sleep 0.01; sleep 0.01; done'
    const fleet = await suite(async (dut) => void (await dut.exec(daemon(restarted))))
    const pid = await daemonPid()
    await expect(fleet.stop()).rejects.toThrow(`process ${pid}, killed now: sh -c`)
    expect(await processesOf(host, dut.dir)).toEqual([])
  })

  test('is gone whole, though it takes its time: it holds no lock any more', async () => {
    const lock = join(base, 'lock')
    const memory = `
      globalThis.kept = Buffer.alloc(400e6, 1)
      require('node:net').createServer().listen('${base}/up')`
    await writeFile(join(base, 'program.js'), memory)
    const line = `exec 3>${lock}; flock 3; exec ${process.execPath} ${base}/program.js`
    const fleet = await suite(async (dut) => void (await dut.exec(daemon(line))))
    const isUp = () => stat(join(base, 'up')).catch(() => undefined)
    await poll(isUp, { timeoutMs: 10_000 })
    expect(await host.held([lock])).toEqual([true])
    await expect(fleet.stop()).rejects.toThrow('killed now')
    expect(await host.held([lock])).toEqual([false])
  })

  test('of another suite is not touched, not even where its folder begins with ours', async () => {
    const beside = new Dut({ name: 'dut1', host, dir: `${dut.dir}0`, bootTimeoutMs: 1000 })
    await beside.exec(daemon(SLEEP))
    const pid = await daemonPid()
    await dut.close()
    expect(isRunning(pid)).toBe(true)
    await expect(beside.close()).rejects.toThrow(`process ${pid}, killed now`)
    expect(isRunning(pid)).toBe(false)
  })

  test('is found also where the folder’s name means something to a search', async () => {
    const odd = new Dut({ name: 'odd', host, dir: join(base, 'a[b]*.c$\\^+(d)'), bootTimeoutMs: 1 })
    const plain = new Dut({ name: 'plain', host, dir: join(base, 'abbb.c'), bootTimeoutMs: 1 })
    await odd.exec(daemon(SLEEP))
    const pid = await daemonPid()
    await plain.close()
    expect(isRunning(pid)).toBe(true)
    await expect(odd.close()).rejects.toThrow(`process ${pid}, killed now`)
  })

  test('a list of many is cut, and so are long lines', async () => {
    const fleet = await suite(async (dut) => {
      const many = 'i=0; while [ $i -lt 25 ]; do sleep 12345 & i=$((i+1)); done; wait'
      await dut.exec(daemon(many))
      await daemonPid()
      await poll(async () => ((await processesOf(host, dut.dir)).length > 25 ? true : undefined), {
        timeoutMs: 10_000,
      })
      const long = `: ${'x'.repeat(5000)}; ${SLEEP}`
      await dut.exec(daemon(long))
    })
    const { message } = await fleet.stop().catch((error) => error)
    expect(message.match(/\n {2}process /g)).toHaveLength(20)
    expect(message).toMatch(/\n {2}and \d+ more\n→/)
    expect(message.length).toBeLessThan(6000)
    expect(await processesOf(host, dut.dir)).toEqual([])
  })
})

describe('a file', () => {
  test('in the suite’s folder is gone with it, also below folders and links', async () => {
    await writeFile(join(base, 'outside'), 'stays')
    const fleet = await suite(async ({ dir }) => {
      await mkdir(join(dir, 'a/b'), { recursive: true })
      await writeFile(join(dir, 'a/b/socket'), '')
      await symlink(base, join(dir, 'a/link'))
    })
    await fleet.stop()
    expect(await readdir(base)).toEqual(['outside'])
  })

  test('that comes once the folder is gone is told, and removed', async () => {
    await mkdir(dut.dir)
    await writeFile(join(dut.dir, 'vhost.sock'), '')
    await expect(checkLeftovers(dut)).rejects.toThrow(
      `the suite left behind:\n  file ${dut.dir}/vhost.sock\n→ `,
    )
    expect(await readdir(base)).toEqual([])
  })

  test('that a program puts there again and again is told with the program', async () => {
    const again = `while :; do mkdir -p ${dut.dir}/late; echo >${dut.dir}/late/file; done`
    const fleet = await suite(async (dut) => void (await dut.exec(daemon(again))))
    const pid = await daemonPid()
    const error = await fleet.stop().catch((error) => error)
    expect(error.message).toContain(`process ${pid}, killed now: sh -c`)
    expect(await processesOf(host, dut.dir)).toEqual([])
    await expect(stat(dut.dir)).rejects.toThrow('ENOENT')
  })
})

describe('a lease', () => {
  test('that is not released is told', async () => {
    const need = { dut: 'dut0', vm: 'vm7', dir: dut.dir, names: ['x'] }
    const [lease, other] = await admit(host, [need, { dut: 'dut0', dir: base, names: ['y'] }])
    const file = lease?.lockFile.slice(locks.path.length + 1)
    await expect(dut.close()).rejects.toThrow(`left behind:\n  lease ${file} of vm7\n→ `)
    await lease?.release()
    await dut.close()
    await other?.release()
  })

  test('of a test that is still to be given back is given back by the end of the suite', async () => {
    await dut.lease('name', 'generator')
    await dut.close()
    expect((await readdir(locks.path)).filter((name) => name.includes('@'))).toEqual([])
  })
})

test('a clean suite is looked at without a wait, and with no more programs where much else runs', async () => {
  // A folder of programs that note their names before they begin.
  const [bin, log] = [await mkdtemp(join(base, 'bin-')), join(base, 'log')]
  const noting = `#!/bin/sh\necho "\${0##*/}" >>${log}\nexec "/usr/bin/\${0##*/}" "$@"\n`
  await writeFile(join(base, 'noting'), noting, { mode: 0o755 })
  for (const name of await readdir('/usr/bin')) await symlink('../noting', join(bin, name))
  const run: Host['run'] = (file, args, options) =>
    host.run(file, args, { ...options, env: { ...options?.env, PATH: bin } })
  const look = async () => {
    await writeFile(log, '')
    stopTime()
    const looking = checkLeftovers({ name: 'dut0', host: { ...host, run }, dir: dut.dir })
    await looking.finally(() => vi.useRealTimers())
    return readFileSync(log, 'utf8').split('\n').sort()
  }
  const alone = await look()
  expect(alone).toContain('grep')
  const sleepers = 'for i in $(seq 300); do sleep 12345 & done; echo up; wait'
  const others = new Dut({ name: 'others', host, dir: join(base, 'others'), bootTimeoutMs: 1000 })
  await others.spawn(sleepers, { prompt: 'up' })
  expect(await look()).toEqual(alone)
  await others.close()
})

// Starts, uses and stops VMs in this one process: so many suites one after another, each with five
// times two VMs. Prints after each suite what the process still has then, in a line of JSON. To be run
// with --expose-gc.
import { getEventListeners } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { queryObjects } from 'node:v8'
import { Console } from '../../src/console/console.ts'
import { Program } from '../../src/console/program.ts'
import { Dut } from '../../src/fleet/dut.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { Agent } from '../../src/guest-protocol/agent.ts'
import { localHost } from '../../src/host/local.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { userNet } from '../../src/qemu/devices.ts'
import { Vm } from '../../src/vm/vm.ts'

const suites = Number(process.argv[2])
const hugepages = process.argv[3] === 'hugepages' && '2M'

const warnings: string[] = []
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') warnings.push(String(warning)) // our own queryObjects
})
const { signal } = new AbortController()
const host = localHost()
const folder = await openRunFolder(host)

async function suite(dir: string): Promise<void> {
  const admission = { grow: hugepages !== false }
  await using dut = new Dut({ name: 'dut0', host, dir, bootTimeoutMs: 120_000, admission })
  const spec = {
    memory: { size: '128M', hugepages },
    devices: [userNet({ forward: [22] })],
  } as const
  for (let i = 0; i < 5; i++) {
    const vms = await dut.startAll([spec, spec], { signal })
    await Promise.all(vms.map((vm) => use(vm, dut)))
    await Promise.all(vms.map((vm) => dut.stop(vm)))
  }
}

async function use(vm: Vm, dut: Dut): Promise<void> {
  await vm.cmd(['x=1', 'echo $x'])
  await vm.exec('head -c 100000 /dev/urandom', { check: true })
  await vm.copyIn('text', '/tmp/file')
  await (await vm.session()).cmd('true')
  await (await vm.spawn('sed -u s/h/j/')).cmd('hello', 'jello')
  await (await dut.spawn('sed -u s/h/j/')).cmd('hello', 'jello')
  await dut.exec('true')
  await dut.section('cycles', async () => {})
}

async function look() {
  for (let i = 0; i < 5; i++) {
    await new Promise(setImmediate) // what closes, closes in its turn of the loop
    globalThis.gc?.()
  }
  const { rss, heapUsed } = process.memoryUsage()
  const kinds = [Vm, Dut, Lifeline, Console, Agent, Program]
  return {
    memory: { rss, heapUsed },
    descriptors: count(readdirSync('/proc/self/fd').map(kindOf)),
    resources: count(process.getActiveResourcesInfo()),
    children: childrenOfUs(),
    objects: Object.fromEntries(kinds.map((kind) => [kind.name, queryObjects(kind)])),
    listeners: {
      ...Object.fromEntries(
        process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
      ),
      'of the signal': getEventListeners(signal, 'abort').length,
    },
    warnings,
  }
}

/** `socket`, `pipe`, `anon_inode:[eventpoll]`, or a path. */
function kindOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).replace(/:\[\d+\]$/, '')
  } catch {
    return 'the folder of descriptors'
  }
}

/** Ids of child processes, also of those that have ended and were not asked for. */
function childrenOfUs(): string {
  const threads = readdirSync('/proc/self/task')
  return threads.map((id) => readFileSync(`/proc/self/task/${id}/children`, 'utf8')).join('')
}

function count(kinds: readonly string[]): Record<string, number> {
  const counted = Object.entries(Object.groupBy(kinds.toSorted(), (kind) => kind))
  return Object.fromEntries(counted.map(([kind, all = []]) => [kind, all.length]))
}

for (let i = 0; i < suites; i++) {
  await suite(`${folder.path}/${i}`)
  console.log(JSON.stringify(await look()))
}
await folder.close()

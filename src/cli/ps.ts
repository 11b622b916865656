import type { Command } from 'commander'
import { openTemplateStore } from '../fleet/template-store.ts'
import type { Host } from '../host/host.ts'
import { localHost } from '../host/local.ts'
import {
  deadAmong,
  type LeaseRecord,
  readLedger,
  type WishRecord,
} from '../lease/ledger/records.ts'
import { wallClock } from '../time.ts'
import { listTemplates, type StoredTemplate } from '../vm/template/store.ts'
import { print, printJson, roughAge, roughSize, table } from './output.ts'
import { templateAsJson, templatesLine } from './template.ts'

const HELP = `
Exit status:
  0  done
  1  it failed, as the message says
  2  the command line is wrong

Examples:
  npx vitest-dut ps
  npx vitest-dut ps --json | jq '.leases[] | select(.user == "bob")'`

export function addPs(program: Command): void {
  program
    .command('ps')
    .description('list the VMs and leases on this machine, of all users, and who waits for them')
    .option('--json', 'print them as JSON')
    .addHelpText('after', HELP)
    .action(ps)
}

type State = 'running' | 'starting' | 'held' | 'dead'

async function ps({ json }: { json?: true }): Promise<void> {
  const host = localHost()
  const { leases, wishes } = await readLedger(host)
  const dead = new Set(await deadAmong<LeaseRecord | WishRecord>(host, [...leases, ...wishes]))
  const listed = leases.map((lease) => {
    return { ...lease, state: dead.has(lease) ? ('dead' as const) : stateOf(lease) }
  })
  const waiting = wishes.filter((wish) => !dead.has(wish))
  const templates = await templatesOf(host)
  if (json) {
    return printJson({
      ...{ version: 1, leases: listed.map(leaseAsJson), waiting: waiting.map(wishAsJson) },
      templates: templates.map(templateAsJson),
    })
  }
  if (listed.length === 0) print('no VMs and no leases on this machine')
  else for (const line of table([HEAD, ...listed.map(row)])) print(line)
  for (const wish of waiting) print(waitingLine(wish))
  if (templates.length > 0) print(`\n${templatesLine(templates)}`)
  if (listed.some(({ state }) => state === 'dead')) {
    print(
      '\nThe dead hold nothing; what is left of them goes with the next run, or: npx vitest-dut clean',
    )
  }
}

/** This user's; none where they cannot be kept. */
async function templatesOf(host: Host): Promise<StoredTemplate[]> {
  const store = await openTemplateStore(host).catch(() => undefined)
  return store ? listTemplates(host, store.path) : []
}

/** What a QEMU has is its own; what none has yet is promised to it, or a test holds it for itself. */
function stateOf({ vm, qemu }: LeaseRecord): State {
  if (vm === undefined) return 'held'
  return qemu === undefined ? 'starting' : 'running'
}

const HEAD = ['VM', 'STATE', 'USER', 'RUN', 'SUITE', 'AGE', 'PID', 'MEMORY', 'HAS']

function row({ dut, vm, state, holder, qemu, holding }: LeaseRecord & { state: State }): string[] {
  const { pages } = holding
  const memory = pages ? `${pages.count} x ${pages.size}` : roughSize(holding.memory)
  return [
    ...[`${dut}/${vm ?? '-'}`, state, holder.user, holder.run ?? '-', holder.suite ?? '-'],
    roughAge(wallClock.now() - holder.since),
    ...[String(qemu ?? holder.pid), memory, has(holding) || '-'],
  ]
}

function has({ cpus, ports, pci, bridges, names }: LeaseRecord['holding']): string {
  const lists: [string, readonly (string | number)[]][] = [
    ['cpu', cpus],
    ['port', ports],
    ['pci', pci.map(({ address }) => address)],
    ['bridge', bridges],
    ['name', names],
  ]
  return lists
    .filter(([, list]) => list.length > 0)
    .map(([what, list]) => `${what} ${list.join(',')}`)
    .join('; ')
}

function waitingLine({ dut, holder, needs, lacks }: WishRecord): string {
  const { user, pid, suite, since } = holder
  const vms = `${needs.length} ${needs.length === 1 ? 'VM' : 'VMs'}`
  const who = `${user}, process ${pid}${suite === undefined ? '' : `, ${suite}`}`
  return `waits for ${lacks.join(', ')}: ${vms} on ${dut} (${who}), ${roughAge(wallClock.now() - since)}`
}

/** The fields in an order that stays; what there is none of is null. */
function leaseAsJson({
  file,
  dut,
  vm,
  qemu,
  holder,
  holding,
  state,
}: LeaseRecord & { state: State }) {
  const { memory, pages, cpus, ports, pci, bridges, names } = holding
  return {
    ...{ lease: file, state, dut, vm: vm ?? null, qemu: qemu ?? null },
    ...holderAsJson(holder),
    memory,
    hugepages: pages ? { size: pages.size, node: pages.node, count: pages.count } : null,
    ...{ cpus, ports, pci: pci.map(({ address }) => address), bridges, names },
  }
}

function wishAsJson({ dut, holder, needs, lacks }: WishRecord) {
  const vms = needs.map(({ vm }) => vm ?? null)
  return { dut, vms, ...holderAsJson(holder), lacks }
}

function holderAsJson({ user, pid, program, folder, run, suite, since }: LeaseRecord['holder']) {
  return {
    ...{ user, pid, program, folder, run: run ?? null, suite: suite ?? null },
    since: new Date(since).toISOString(),
  }
}

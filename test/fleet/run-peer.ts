// A run of another process, with all that one can have on a host: its folder below the base named, a
// program that went away from it, a lease of its own, one that a further program holds as QEMU does,
// and a place in the queue. Says what it has, as JSON, and stays.
import { once } from 'node:events'
import { suiteEnv } from '../../src/fleet/leftovers.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admit.ts'
import { readLedger } from '../../src/lease/records.ts'
import { poll } from '../../src/wait.ts'

const [base, name = ''] = process.argv.slice(2)
const host = localHost()
const { path } = await openRunFolder(host, base)
const dir = `${path}/suite`
await host.makeDir(`${dir}/vm0`)
await host.writeFile(`${dir}/vm0/qemu.log`, 'left over')
const needs = ['test', 'qemu'].map((vm) => ({ dut: 'dut0', dir, vm, names: [`${name} ${vm}`] }))
const leases = await admit(host, needs)

/** Starts a program that goes its own way; resolves with its id. */
async function stray(script: string, ...args: string[]): Promise<number> {
  const line = `setsid --fork sh -c 'echo $$ >"$0.new" && mv "$0.new" "$0"; ${script}' "$@"`
  const file = `${dir}/pid-${crypto.randomUUID()}`
  await host.run('sh', ['-c', `${line} </dev/null >/dev/null 2>&1`, 'sh', file, ...args], {
    env: suiteEnv(dir),
  })
  const pid = await poll(() => host.readFile(file).catch(() => undefined), { timeoutMs: 10_000 })
  return Number(Buffer.from(pid).toString())
}
const daemon = await stray('cd /; exec sleep 54321')
const holder = await stray(
  'exec 3<"$1"; flock --shared 3; exec sleep 54322',
  leases[1]?.lockFile ?? '',
)
await poll(async () => ((await host.held([leases[1]?.lockFile ?? '']))[0] ? true : undefined), {
  timeoutMs: 10_000,
})

void admit(host, [{ dut: 'dut0', names: [`${name} test`] }]) // waits for itself
const waits = async () =>
  (await readLedger(host)).wishes.find(({ holder }) => holder.pid === process.pid)
const wish = await poll(waits, { timeoutMs: 10_000 })
console.log(
  JSON.stringify({
    ...{ path, daemon, holder, wish: wish.file, owner: wish.owner },
    leases: leases.map(({ lockFile }) => lockFile.slice(lockFile.lastIndexOf('/') + 1)),
  }),
)
await once(process.stdin.resume(), 'end')

import type { Command } from 'commander'
import { openTemplateStore } from '../fleet/template-store.ts'
import { localHost } from '../host/local.ts'
import { wallClock } from '../time.ts'
import { listTemplates, pruneTemplates, type StoredTemplate } from '../vm/template/store.ts'
import { print, printJson, roughAge, roughSize, STATUSES, table } from './output.ts'

export function addTemplate(program: Command): void {
  const template = program
    .command('template')
    .description('saved machines, from which VMs are cloned')
    .helpCommand(false)
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut template list`)
  template
    .command('list')
    .description("list this user's templates, the most recently used first")
    .option('--json', 'print them as JSON')
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut template list --json`)
    .action(list)
  template
    .command('prune')
    .description('remove the templates that no VM uses; the next run makes what it needs')
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print what was removed, and what was kept, as JSON')
    .addHelpText('after', `${STATUSES}\n\nExample:\n  npx vitest-dut template prune --dry-run`)
    .action(prune)
}

async function list({ json }: { json?: true }): Promise<void> {
  const host = localHost()
  const { path, limit } = await openTemplateStore(host)
  const templates = await listTemplates(host, path)
  if (json) return printJson({ version: 1, path, limit, templates: templates.map(templateAsJson) })
  if (templates.length === 0) return print(`no templates in ${path}`)
  const rows = templates.map((template) => {
    const { key, bytes, usedAt } = template
    const size = roughSize(bytes)
    return [key, size, roughAge(wallClock.now() - usedAt), stateOf(template), describe(template)]
  })
  for (const line of table([['KEY', 'SIZE', 'USED', 'STATE', 'MACHINE'], ...rows])) print(line)
  print(`\n${roughSize(bytesOf(templates))} of ${roughSize(limit)} in ${path}`)
}

async function prune({ dryRun = false, json }: { dryRun?: boolean; json?: true }): Promise<void> {
  const host = localHost()
  const { path } = await openTemplateStore(host)
  const { removed, kept } = await pruneTemplates(host, path, { dryRun })
  const bytes = bytesOf(removed)
  if (json) {
    const [gone, left] = [removed, kept].map((templates) => templates.map(templateAsJson))
    return printJson({ version: 1, dryRun, bytes, removed: gone, kept: left })
  }
  const verb = dryRun ? 'would remove' : 'removed'
  for (const { folder, bytes } of removed) print(`${verb} ${folder} (${roughSize(bytes)})`)
  for (const template of kept) print(`kept ${template.folder} (${stateOf(template)})`)
  print(`${verb} ${countOf(removed)}, ${roughSize(bytes)}`)
}

function stateOf({ label, inUse }: StoredTemplate): string {
  if (label === undefined) return inUse ? 'being made' : 'unfinished'
  return inUse ? 'in use' : 'unused'
}

/** `512M, 1 CPU, q35, tcg, link + vhost-user`. */
function describe({ label }: StoredTemplate): string {
  if (label === undefined) return '-'
  const { memory, cpus, machine, accel, devices } = label
  const all = [memory, cpus === 1 ? '1 CPU' : `${cpus} CPUs`, machine, accel, devices.join(' + ')]
  return all.filter((part) => part !== '').join(', ')
}

/** How many there are, and what they take. */
export function templatesLine(templates: readonly StoredTemplate[]): string {
  const used = templates.filter(({ inUse }) => inUse).length
  const inUse = used > 0 ? ` (${used} in use)` : ''
  return `${countOf(templates)}${inUse}, ${roughSize(bytesOf(templates))}`
}

function countOf({ length }: readonly StoredTemplate[]): string {
  return length === 1 ? '1 template' : `${length} templates`
}

function bytesOf(templates: readonly StoredTemplate[]): number {
  return templates.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** The fields in an order that stays. */
export function templateAsJson({ key, folder, bytes, usedAt, label, inUse }: StoredTemplate) {
  const { qemu, machine, accel, cpus, memory, devices } = label ?? {}
  return {
    ...{ key, folder, bytes, usedAt: new Date(usedAt).toISOString() },
    ...{ complete: label !== undefined, inUse },
    machine: label ? { qemu, machine, accel, cpus, memory, devices } : null,
  }
}

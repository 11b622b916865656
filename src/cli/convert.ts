import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { asSource } from '../virt/as-source.ts'
import { readVirtConfig, vmsIn } from '../virt/virt-config.ts'
import { type ConvertedVm, convertVirtParams } from '../virt/virt-params.ts'
import { print, printJson, STATUSES } from './output.ts'

interface ConvertOptions {
  global?: string
  vm?: string[]
  json?: true
}

export function addConvert(program: Command): void {
  program
    .command('convert')
    .description("print a configuration file of DTS's VMs as the options of a dutTest")
    .argument('<file>', 'such as conf/vhost_sample.cfg')
    .option('--global <file>', 'the global file; virt_global.cfg beside it where there is one')
    .option('--vm <name...>', 'only these of its VMs')
    .option('--json', 'print specs and notes as JSON')
    .addHelpText(
      'after',
      `${STATUSES}\n\nExample:\n  npx vitest-dut convert conf/vhost_sample.cfg >vms.spec.ts`,
    )
    .action(convert)
}

async function convert(file: string, { global: given, vm, json }: ConvertOptions): Promise<void> {
  const beside = join(dirname(file), 'virt_global.cfg')
  const global = given ?? (existsSync(beside) && beside !== file ? beside : undefined)
  const names = vm ?? (await vmsIn(file))
  const vms: { name: string; converted: ConvertedVm }[] = []
  const refused: UsageError[] = []
  for (const name of names) {
    try {
      const params = await readVirtConfig({ file, vm: name, ...(global && { global }) })
      vms.push({ name, converted: convertVirtParams(params, `${file}: [${name}]`) })
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      refused.push(error)
    }
  }
  // The others are of use all the same.
  if (json)
    printJson({ version: 1, vms: vms.map(({ name, converted }) => ({ name, ...converted })) })
  else if (vms.length > 0) print(asSource(vms).trimEnd())
  if (refused.length > 0) throw new UsageError(refused.map(({ message }) => message).join('\n'))
}

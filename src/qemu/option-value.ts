/** In QEMU's option lists a comma separates; a doubled one stands for itself. */
export function optionValue(value: string): string {
  return value.replaceAll(',', ',,')
}

//! What the datasheet calls the registers: for messages and traces.

/// A run of registers: offset of the first, distance, how many, name. A run that stands for a group of registers has a
/// name that ends in `_`, and what follows it is the offset in the group.
type Run = (u16, u8, u8, &'static str);

/// A block: its base address, its name, its registers.
type Block = (u32, &'static str, &'static [Run]);

#[rustfmt::skip]
const XIP_CTRL: &[Run] = &[
    (0x000, 0, 1, "CTRL"), (0x004, 0, 1, "FLUSH"), (0x008, 0, 1, "STAT"), (0x00c, 0, 1, "CTR_HIT"),
    (0x010, 0, 1, "CTR_ACC"), (0x014, 0, 1, "STREAM_ADDR"), (0x018, 0, 1, "STREAM_CTR"),
    (0x01c, 0, 1, "STREAM_FIFO"),
];
#[rustfmt::skip]
const SSI: &[Run] = &[
    (0x000, 0, 1, "CTRLR0"), (0x004, 0, 1, "CTRLR1"), (0x008, 0, 1, "SSIENR"), (0x00c, 0, 1, "MWCR"),
    (0x010, 0, 1, "SER"), (0x014, 0, 1, "BAUDR"), (0x018, 0, 1, "TXFTLR"), (0x01c, 0, 1, "RXFTLR"),
    (0x020, 0, 1, "TXFLR"), (0x024, 0, 1, "RXFLR"), (0x028, 0, 1, "SR"), (0x02c, 0, 1, "IMR"),
    (0x030, 0, 1, "ISR"), (0x034, 0, 1, "RISR"), (0x038, 0, 1, "TXOICR"), (0x03c, 0, 1, "RXOICR"),
    (0x040, 0, 1, "RXUICR"), (0x044, 0, 1, "MSTICR"), (0x048, 0, 1, "ICR"), (0x04c, 0, 1, "DMACR"),
    (0x050, 0, 1, "DMATDLR"), (0x054, 0, 1, "DMARDLR"), (0x058, 0, 1, "IDR"),
    (0x05c, 0, 1, "SSI_VERSION_ID"), (0x060, 0, 1, "DR0"), (0x0f0, 0, 1, "RX_SAMPLE_DLY"),
    (0x0f4, 0, 1, "SPI_CTRLR0"), (0x0f8, 0, 1, "TXD_DRIVE_EDGE"),
];
#[rustfmt::skip]
const SYSINFO: &[Run] = &[
    (0x000, 0, 1, "CHIP_ID"), (0x004, 0, 1, "PLATFORM"), (0x010, 0, 1, "GITREF_RP2040"),
];
#[rustfmt::skip]
const SYSCFG: &[Run] = &[
    (0x000, 0, 1, "PROC0_NMI_MASK"), (0x004, 0, 1, "PROC1_NMI_MASK"), (0x008, 0, 1, "PROC_CONFIG"),
    (0x014, 0, 1, "DBGFORCE"), (0x018, 0, 1, "MEMPOWERDOWN"),
];
#[rustfmt::skip]
const CLOCKS: &[Run] = &[
    (0x008, 12, 4, "CLK_GPOUT_SELECTED"), (0x030, 0, 1, "CLK_REF_CTRL"), (0x034, 0, 1, "CLK_REF_DIV"),
    (0x038, 0, 1, "CLK_REF_SELECTED"), (0x03c, 0, 1, "CLK_SYS_CTRL"), (0x040, 0, 1, "CLK_SYS_DIV"),
    (0x044, 0, 1, "CLK_SYS_SELECTED"), (0x048, 0, 1, "CLK_PERI_CTRL"), (0x04c, 0, 1, "CLK_PERI_DIV"),
    (0x050, 0, 1, "CLK_PERI_SELECTED"), (0x054, 0, 1, "CLK_USB_CTRL"), (0x058, 0, 1, "CLK_USB_DIV"),
    (0x05c, 0, 1, "CLK_USB_SELECTED"), (0x060, 0, 1, "CLK_ADC_CTRL"), (0x064, 0, 1, "CLK_ADC_DIV"),
    (0x068, 0, 1, "CLK_ADC_SELECTED"), (0x06c, 0, 1, "CLK_RTC_CTRL"), (0x070, 0, 1, "CLK_RTC_DIV"),
    (0x074, 0, 1, "CLK_RTC_SELECTED"), (0x080, 0, 1, "FC0_REF_KHZ"), (0x084, 0, 1, "FC0_MIN_KHZ"),
    (0x088, 0, 1, "FC0_MAX_KHZ"), (0x08c, 0, 1, "FC0_DELAY"), (0x090, 0, 1, "FC0_INTERVAL"),
    (0x094, 0, 1, "FC0_SRC"), (0x098, 0, 1, "FC0_STATUS"), (0x09c, 0, 1, "FC0_RESULT"),
    (0x0a0, 0, 1, "WAKE_EN0"), (0x0a4, 0, 1, "WAKE_EN1"), (0x0a8, 0, 1, "SLEEP_EN0"),
    (0x0ac, 0, 1, "SLEEP_EN1"), (0x0b0, 0, 1, "ENABLED0"), (0x0b4, 0, 1, "ENABLED1"), (0x0b8, 0, 1, "INTR"),
    (0x0bc, 0, 1, "INTE"), (0x0c0, 0, 1, "INTF"), (0x0c4, 0, 1, "INTS"),
];
#[rustfmt::skip]
const RESETS: &[Run] = &[
    (0x000, 0, 1, "RESET"), (0x004, 0, 1, "WDSEL"), (0x008, 0, 1, "RESET_DONE"),
];
#[rustfmt::skip]
const PSM: &[Run] = &[
    (0x000, 0, 1, "FRCE_ON"), (0x004, 0, 1, "FRCE_OFF"), (0x008, 0, 1, "WDSEL"), (0x00c, 0, 1, "DONE"),
];
#[rustfmt::skip]
const IO: &[Run] = &[
    (0x000, 8, 30, "GPIO_"), (0x0f0, 4, 4, "INTR"), (0x100, 48, 2, "INT_PROC_"),
    (0x160, 0, 1, "INT_DORMANT_WAKE_"),
];
#[rustfmt::skip]
const PADS: &[Run] = &[
    (0x004, 4, 32, "GPIO"),
];
#[rustfmt::skip]
const XOSC: &[Run] = &[
    (0x000, 0, 1, "CTRL"), (0x004, 0, 1, "STATUS"), (0x008, 0, 1, "DORMANT"), (0x00c, 0, 1, "STARTUP"),
    (0x01c, 0, 1, "COUNT"),
];
#[rustfmt::skip]
const PLL: &[Run] = &[
    (0x000, 0, 1, "CS"), (0x004, 0, 1, "PWR"), (0x008, 0, 1, "FBDIV_INT"), (0x00c, 0, 1, "PRIM"),
];
#[rustfmt::skip]
const BUSCTRL: &[Run] = &[
    (0x000, 0, 1, "BUS_PRIORITY"), (0x008, 8, 4, "PERFCTR"), (0x00c, 8, 4, "PERFSEL"),
];
#[rustfmt::skip]
const UART: &[Run] = &[
    (0x000, 0, 1, "UARTDR"), (0x004, 0, 1, "UARTRSR"), (0x018, 0, 1, "UARTFR"), (0x020, 0, 1, "UARTILPR"),
    (0x024, 0, 1, "UARTIBRD"), (0x028, 0, 1, "UARTFBRD"), (0x02c, 0, 1, "UARTLCR_H"),
    (0x030, 0, 1, "UARTCR"), (0x034, 0, 1, "UARTIFLS"), (0x038, 0, 1, "UARTIMSC"), (0x03c, 0, 1, "UARTRIS"),
    (0x040, 0, 1, "UARTMIS"), (0x044, 0, 1, "UARTICR"), (0x048, 0, 1, "UARTDMACR"),
    (0xfe0, 0, 1, "UARTPERIPHID0"), (0xfe4, 0, 1, "UARTPERIPHID1"), (0xfe8, 0, 1, "UARTPERIPHID2"),
    (0xfec, 0, 1, "UARTPERIPHID3"), (0xff0, 0, 1, "UARTPCELLID0"), (0xff4, 0, 1, "UARTPCELLID1"),
    (0xff8, 0, 1, "UARTPCELLID2"), (0xffc, 0, 1, "UARTPCELLID3"),
];
#[rustfmt::skip]
const SPI: &[Run] = &[
    (0x000, 0, 1, "CR0"), (0x004, 0, 1, "CR1"), (0x008, 0, 1, "DR"), (0x00c, 0, 1, "SR"),
    (0x010, 0, 1, "CPSR"), (0x014, 0, 1, "IMSC"), (0x018, 0, 1, "RIS"), (0x01c, 0, 1, "MIS"),
    (0x020, 0, 1, "ICR"), (0x024, 0, 1, "DMACR"), (0xfe0, 0, 1, "PERIPHID0"), (0xfe4, 0, 1, "PERIPHID1"),
    (0xfe8, 0, 1, "PERIPHID2"), (0xfec, 0, 1, "PERIPHID3"), (0xff0, 0, 1, "PCELLID0"),
    (0xff4, 0, 1, "PCELLID1"), (0xff8, 0, 1, "PCELLID2"), (0xffc, 0, 1, "PCELLID3"),
];
#[rustfmt::skip]
const I2C: &[Run] = &[
    (0x000, 0, 1, "IC_CON"), (0x004, 0, 1, "IC_TAR"), (0x008, 0, 1, "IC_SAR"), (0x010, 0, 1, "IC_DATA_CMD"),
    (0x014, 0, 1, "IC_SS_SCL_HCNT"), (0x018, 0, 1, "IC_SS_SCL_LCNT"), (0x01c, 0, 1, "IC_FS_SCL_HCNT"),
    (0x020, 0, 1, "IC_FS_SCL_LCNT"), (0x02c, 0, 1, "IC_INTR_STAT"), (0x030, 0, 1, "IC_INTR_MASK"),
    (0x038, 0, 1, "IC_RX_TL"), (0x03c, 0, 1, "IC_TX_TL"), (0x040, 0, 1, "IC_CLR_INTR"),
    (0x048, 0, 1, "IC_CLR_RX_OVER"), (0x04c, 0, 1, "IC_CLR_TX_OVER"), (0x050, 0, 1, "IC_CLR_RD_REQ"),
    (0x054, 0, 1, "IC_CLR_TX_ABRT"), (0x058, 0, 1, "IC_CLR_RX_DONE"), (0x06c, 0, 1, "IC_ENABLE"),
    (0x070, 0, 1, "IC_STATUS"), (0x074, 0, 1, "IC_TXFLR"), (0x078, 0, 1, "IC_RXFLR"),
    (0x07c, 0, 1, "IC_SDA_HOLD"), (0x088, 0, 1, "IC_DMA_CR"), (0x08c, 0, 1, "IC_DMA_TDLR"),
    (0x090, 0, 1, "IC_DMA_RDLR"), (0x094, 0, 1, "IC_SDA_SETUP"), (0x0a0, 0, 1, "IC_FS_SPKLEN"),
    (0x0f8, 0, 1, "IC_COMP_VERSION"), (0x0fc, 0, 1, "IC_COMP_TYPE"),
];
#[rustfmt::skip]
const ADC: &[Run] = &[
    (0x000, 0, 1, "CS"), (0x004, 0, 1, "RESULT"), (0x008, 0, 1, "FCS"), (0x00c, 0, 1, "FIFO"),
    (0x010, 0, 1, "DIV"), (0x014, 0, 1, "INTR"), (0x018, 0, 1, "INTE"), (0x01c, 0, 1, "INTF"),
    (0x020, 0, 1, "INTS"),
];
#[rustfmt::skip]
const PWM: &[Run] = &[
    (0x000, 20, 8, "CH_"), (0x0a0, 0, 1, "EN"), (0x0a4, 0, 1, "INTR"), (0x0a8, 0, 1, "INTE"),
    (0x0ac, 0, 1, "INTF"), (0x0b0, 0, 1, "INTS"),
];
#[rustfmt::skip]
const TIMER: &[Run] = &[
    (0x000, 0, 1, "TIMEHW"), (0x004, 0, 1, "TIMELW"), (0x008, 0, 1, "TIMEHR"), (0x00c, 0, 1, "TIMELR"),
    (0x010, 4, 4, "ALARM"), (0x020, 0, 1, "ARMED"), (0x024, 0, 1, "TIMERAWH"), (0x028, 0, 1, "TIMERAWL"),
    (0x02c, 0, 1, "DBGPAUSE"), (0x030, 0, 1, "PAUSE"), (0x034, 0, 1, "INTR"), (0x038, 0, 1, "INTE"),
    (0x03c, 0, 1, "INTF"), (0x040, 0, 1, "INTS"),
];
#[rustfmt::skip]
const WATCHDOG: &[Run] = &[
    (0x000, 0, 1, "CTRL"), (0x004, 0, 1, "LOAD"), (0x008, 0, 1, "REASON"), (0x00c, 4, 8, "SCRATCH"),
    (0x02c, 0, 1, "TICK"),
];
#[rustfmt::skip]
const RTC: &[Run] = &[
    (0x000, 0, 1, "CLKDIV_M1"), (0x004, 0, 1, "SETUP_0"), (0x008, 0, 1, "SETUP_1"), (0x00c, 0, 1, "CTRL"),
    (0x010, 0, 1, "IRQ_SETUP_0"), (0x014, 0, 1, "IRQ_SETUP_1"), (0x018, 0, 1, "RTC_1"),
    (0x01c, 0, 1, "RTC_0"), (0x020, 0, 1, "INTR"), (0x024, 0, 1, "INTE"), (0x028, 0, 1, "INTF"),
    (0x02c, 0, 1, "INTS"),
];
#[rustfmt::skip]
const ROSC: &[Run] = &[
    (0x000, 0, 1, "CTRL"), (0x004, 0, 1, "FREQA"), (0x008, 0, 1, "FREQB"), (0x00c, 0, 1, "DORMANT"),
    (0x010, 0, 1, "DIV"), (0x014, 0, 1, "PHASE"), (0x018, 0, 1, "STATUS"), (0x01c, 0, 1, "RANDOMBIT"),
    (0x020, 0, 1, "COUNT"),
];
#[rustfmt::skip]
const VREG: &[Run] = &[
    (0x000, 0, 1, "VREG"), (0x004, 0, 1, "BOD"), (0x008, 0, 1, "CHIP_RESET"),
];
#[rustfmt::skip]
const TBMAN: &[Run] = &[
    (0x000, 0, 1, "PLATFORM"),
];
#[rustfmt::skip]
const DMA: &[Run] = &[
    (0x000, 64, 12, "CH_"), (0x400, 16, 2, "INTR"), (0x404, 16, 2, "INTE"), (0x408, 16, 2, "INTF"),
    (0x40c, 16, 2, "INTS"), (0x420, 4, 4, "TIMER"), (0x434, 0, 1, "SNIFF_CTRL"),
    (0x438, 0, 1, "SNIFF_DATA"), (0x440, 0, 1, "FIFO_LEVELS"), (0x444, 0, 1, "CHAN_ABORT"),
    (0x448, 0, 1, "N_CHANNELS"),
];
#[rustfmt::skip]
const USB: &[Run] = &[
    (0x000, 0, 1, "ADDR_ENDP"), (0x040, 0, 1, "MAIN_CTRL"), (0x044, 0, 1, "SOF_WR"),
    (0x048, 0, 1, "SOF_RD"), (0x04c, 0, 1, "SIE_CTRL"), (0x050, 0, 1, "SIE_STATUS"),
    (0x054, 0, 1, "INT_EP_CTRL"), (0x058, 0, 1, "BUFF_STATUS"), (0x060, 0, 1, "EP_ABORT"),
    (0x064, 0, 1, "EP_ABORT_DONE"), (0x068, 0, 1, "EP_STALL_ARM"), (0x06c, 0, 1, "NAK_POLL"),
    (0x074, 0, 1, "USB_MUXING"), (0x078, 0, 1, "USB_PWR"), (0x07c, 0, 1, "USBPHY_DIRECT"),
    (0x084, 0, 1, "USBPHY_TRIM"), (0x08c, 0, 1, "INTR"), (0x090, 0, 1, "INTE"), (0x094, 0, 1, "INTF"),
    (0x098, 0, 1, "INTS"),
];
#[rustfmt::skip]
const PIO: &[Run] = &[
    (0x000, 0, 1, "CTRL"), (0x004, 0, 1, "FSTAT"), (0x008, 0, 1, "FDEBUG"), (0x00c, 0, 1, "FLEVEL"),
    (0x010, 4, 4, "TXF"), (0x020, 4, 4, "RXF"), (0x030, 0, 1, "IRQ"), (0x034, 0, 1, "IRQ_FORCE"),
    (0x038, 0, 1, "INPUT_SYNC_BYPASS"), (0x03c, 0, 1, "DBG_PADOUT"), (0x040, 0, 1, "DBG_PADOE"),
    (0x044, 0, 1, "DBG_CFGINFO"), (0x0c8, 24, 4, "SM_"), (0x128, 0, 1, "INTR"), (0x12c, 12, 2, "IRQS_"),
];
#[rustfmt::skip]
const SIO: &[Run] = &[
    (0x000, 0, 1, "CPUID"), (0x004, 4, 2, "GPIO_IN"), (0x010, 32, 2, "GPIO_OUT_"),
    (0x020, 32, 2, "GPIO_OE_"), (0x050, 0, 1, "FIFO_"), (0x05c, 0, 1, "SPINLOCK_ST"), (0x060, 0, 1, "DIV_"),
    (0x080, 64, 2, "INTERP_"), (0x100, 4, 32, "SPINLOCK"),
];

const BLOCKS: &[Block] = &[
    (0x1400_0000, "XIP_CTRL", XIP_CTRL),
    (0x1800_0000, "XIP_SSI", SSI),
    (0x4000_0000, "SYSINFO", SYSINFO),
    (0x4000_4000, "SYSCFG", SYSCFG),
    (0x4000_8000, "CLOCKS", CLOCKS),
    (0x4000_c000, "RESETS", RESETS),
    (0x4001_0000, "PSM", PSM),
    (0x4001_4000, "IO_BANK0", IO),
    (0x4001_8000, "IO_QSPI", IO),
    (0x4001_c000, "PADS_BANK0", PADS),
    (0x4002_0000, "PADS_QSPI", PADS),
    (0x4002_4000, "XOSC", XOSC),
    (0x4002_8000, "PLL_SYS", PLL),
    (0x4002_c000, "PLL_USB", PLL),
    (0x4003_0000, "BUSCTRL", BUSCTRL),
    (0x4003_4000, "UART0", UART),
    (0x4003_8000, "UART1", UART),
    (0x4003_c000, "SPI0", SPI),
    (0x4004_0000, "SPI1", SPI),
    (0x4004_4000, "I2C0", I2C),
    (0x4004_8000, "I2C1", I2C),
    (0x4004_c000, "ADC", ADC),
    (0x4005_0000, "PWM", PWM),
    (0x4005_4000, "TIMER", TIMER),
    (0x4005_8000, "WATCHDOG", WATCHDOG),
    (0x4005_c000, "RTC", RTC),
    (0x4006_0000, "ROSC", ROSC),
    (0x4006_4000, "VREG_AND_CHIP_RESET", VREG),
    (0x4006_c000, "TBMAN", TBMAN),
    (0x5000_0000, "DMA", DMA),
    (0x5011_0000, "USBCTRL", USB),
    (0x5020_0000, "PIO0", PIO),
    (0x5030_0000, "PIO1", PIO),
    (0xd000_0000, "SIO", SIO),
];

/// The names of the chip's blocks, as the datasheet and traces have them.
pub fn blocks() -> impl Iterator<Item = &'static str> {
    BLOCKS.iter().map(|block| block.1)
}

/// The name of the register at an address, whichever of its aliases that is: `UART0.UARTDR`.
pub(crate) fn name_of(address: u32) -> String {
    let (base, mask) = match address >> 28 {
        1 => (address & 0xff00_0000, 0xff),
        4 => (address & 0xffff_c000, 0xfff),
        5 if address >> 16 == 0x5011 => (0x5011_0000, 0xfff),
        5 => (address & 0xfff0_0000, 0xfff),
        0xd => (0xd000_0000, 0xfff),
        0xe => return format!("PPB.{:#06x}", address & 0xffff),
        _ => return format!("{address:#010x}"),
    };
    let offset = address & mask;
    let Some((_, block, runs)) = BLOCKS.iter().find(|block| block.0 == base) else {
        return format!("{address:#010x}");
    };
    for &(first, distance, count, name) in runs.iter().rev() {
        let Some(into) = offset.checked_sub(u32::from(first)) else {
            continue;
        };
        let distance = u32::from(distance).max(4);
        if into < distance * u32::from(count) {
            let (which, rest) = (into / distance, into % distance);
            return match (name.strip_suffix('_'), count) {
                (Some(group), _) => format!("{block}.{group}{which}+{rest:#04x}"),
                (None, _) if rest != 0 => continue,
                (None, 1) => format!("{block}.{name}"),
                (None, _) => format!("{block}.{name}{which}"),
            };
        }
    }
    format!("{block}+{offset:#05x}")
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn registers_have_their_names() {
        assert_eq!(name_of(0x4003_4000), "UART0.UARTDR");
        assert_eq!(name_of(0x4003_a018), "UART1.UARTFR", "through an alias");
        assert_eq!(name_of(0x4005_8014), "WATCHDOG.SCRATCH2");
        assert_eq!(name_of(0x5000_004c), "DMA.CH1+0x0c");
        assert_eq!(name_of(0x5020_0014), "PIO0.TXF1");
        assert_eq!(name_of(0x6000_0000), "0x60000000");
    }
}

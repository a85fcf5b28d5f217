from regmix_pipeline.__main__ import main

main()
